/* What the two torch targets share. */
#ifndef MEMCLIP_TESTS_FUZZ_TORCH_H
#define MEMCLIP_TESTS_FUZZ_TORCH_H
#include <stddef.h>

/* Opens the bytes as a file of tensors and reads every one. */
void fuzz_tensor_file(const void *data, size_t size);
#endif
