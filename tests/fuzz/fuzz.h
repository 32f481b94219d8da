/* A fuzz target reads one hostile input and must neither crash, nor hang, nor leave memory behind. The same targets run
 * under libFuzzer (`make fuzz`) and under fuzz_main.c, which needs no clang. */
#ifndef MEMCLIP_TESTS_FUZZ_H
#define MEMCLIP_TESTS_FUZZ_H
#include <stddef.h>
#include <stdint.h>

/* libFuzzer's name for it. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A file that holds the bytes, for readers that take a path: valid until fuzz_file_release. */
struct fuzz_file {
  int descriptor;
  char path[64];
};
struct fuzz_file fuzz_file_new(const void *data, size_t size);
void fuzz_file_release(struct fuzz_file *file);
/* fatal() when the condition does not hold. */
void fuzz_require(int condition, const char *what);
#endif
