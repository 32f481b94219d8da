/* Pickles as torch writes them, put together by hand: each function appends to the pickle. */
#ifndef MEMCLIP_TESTS_MAKE_PICKLE_H
#define MEMCLIP_TESTS_MAKE_PICKLE_H
#include "base/text.h"
#include <stdint.h>

void pickle_put(struct text *out, const char *bytes); /* up to the NUL */
void pickle_put_byte(struct text *out, int byte);
void pickle_put_integer(struct text *out, int64_t value); /* LONG1 */
void pickle_put_string(struct text *out, const char *string);

struct pickled_tensor {
  const char *name, *storage, *key;
  int64_t count, offset;
  int axes;
  int64_t shape[3], stride[3];
};
/* A tensor of a storage, and a dict of tensors by name. */
void pickle_put_tensor(struct text *out, const struct pickled_tensor *tensor);
void pickle_put_dict(struct text *out, const struct pickled_tensor *tensors, int count);
#endif
