#include "make_pickle.h"
#include <string.h>

void pickle_put(struct text *out, const char *bytes) {
  text_append_string(out, bytes);
}
void pickle_put_byte(struct text *out, int byte) {
  text_append(out, &(char){(char)byte}, 1);
}
void pickle_put_integer(struct text *out, int64_t value) { /* LONG1 */
  pickle_put(out, "\x8a\x08");
  for (int i = 0; i < 8; i++)
    pickle_put_byte(out, (int)((uint64_t)value >> (8 * i) & 0xff));
}
void pickle_put_string(struct text *out, const char *string) {
  pickle_put(out, "X");
  for (int i = 0; i < 4; i++)
    pickle_put_byte(out, (int)(strlen(string) >> (8 * i) & 0xff));
  pickle_put(out, string);
}

void pickle_put_tensor(struct text *out, const struct pickled_tensor *tensor) {
  pickle_put(out, "ctorch._utils\n_rebuild_tensor_v2\n((");
  pickle_put_string(out, "storage");
  pickle_put(out, "ctorch\n");
  pickle_put(out, tensor->storage);
  pickle_put(out, "\n");
  pickle_put_string(out, tensor->key);
  pickle_put_string(out, "cuda:0");
  pickle_put_integer(out, tensor->count);
  pickle_put(out, "tQ");
  pickle_put_integer(out, tensor->offset);
  for (int list = 0; list < 2; list++) {
    pickle_put(out, "(");
    for (int a = 0; a < tensor->axes; a++)
      pickle_put_integer(out, list == 0 ? tensor->shape[a] : tensor->stride[a]);
    pickle_put(out, "t");
  }
  pickle_put(out, "\x89"
                  "ccollections\nOrderedDict\n)RtR");
}

void pickle_put_dict(struct text *out, const struct pickled_tensor *tensors, int count) {
  pickle_put(out, "}(");
  for (int i = 0; i < count; i++) {
    pickle_put_string(out, tensors[i].name);
    pickle_put_tensor(out, &tensors[i]);
  }
  pickle_put(out, "u");
}
