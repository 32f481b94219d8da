/* Python pickles as data. A pickle is a program for a stack machine, and one that names functions to be called; this
 * interpreter calls nothing. It knows the opcodes that torch writes and turns the few names it knows into descriptions
 * of tensors; every other name, and whatever is made with it, becomes an opaque node, harmless where nobody wants it.
 * Opcodes, nodes, strings, stack and memo are limited; what is not known is refused by its name and offset. */
#ifndef MEMCLIP_IO_PICKLE_H
#define MEMCLIP_IO_PICKLE_H
#include "base/dtype.h"
#include "base/error.h"
#include "io/store.h"
#include <stdbool.h>
#include <stddef.h>

enum pickle_kind {
  PICKLE_NONE,
  PICKLE_BOOL,
  PICKLE_INTEGER,
  PICKLE_REAL,
  PICKLE_STRING,
  PICKLE_BYTES,
  PICKLE_TUPLE,
  PICKLE_LIST,
  PICKLE_DICT,
  PICKLE_RECORD, /* an object of a TorchScript archive: its attributes, like a dict */
  PICKLE_GLOBAL,
  PICKLE_STORAGE,
  PICKLE_TENSOR,
  PICKLE_OPAQUE
};
typedef uint32_t pickle_id; /* of a node; 0 is none */
struct pickle_node {
  uint8_t kind;
  uint8_t detail;  /* GLOBAL: row of the table in pickle_global.c; STORAGE: its enum dtype */
  uint32_t offset; /* in the pickle, where it was made */
  union {
    int64_t integer; /* and BOOL */
    double real;
    struct { /* STRING, BYTES, STORAGE (its key): bytes of the pickle, no NUL behind */
      uint32_t at, length;
      int64_t elements; /* STORAGE */
    } text;
    struct { /* GLOBAL, OPAQUE (what made it) */
      uint32_t module_at, module_length, name_at, name_length;
    } global;
    struct { /* of cells; TUPLE, LIST: items; DICT, RECORD: keys and values by turns */
      uint32_t first, last, count;
    } items;
    uint32_t tensor;
  };
};
struct pickle_tensor {
  pickle_id storage;
  int axes;
  int64_t offset; /* elements from the start of the storage */
  int64_t shape[TENSOR_AXES_MAX], stride[TENSOR_AXES_MAX];
};
struct pickle_cell {
  pickle_id value;
  uint32_t next;
};
struct pickle {
  const uint8_t *bytes;
  size_t size;
  struct pickle_node *nodes;
  struct pickle_cell *cells;
  struct pickle_tensor *tensors;
  uint32_t node_count, cell_count, tensor_count;
  pickle_id root;
};

/* `bytes` must outlive the pickle. `file_bytes`: of the file that it lies in, which bound the memory it may need. */
enum status pickle_read(const uint8_t *bytes, size_t size, size_t file_bytes, struct pickle *pickle);
void pickle_release(struct pickle *pickle);
const struct pickle_node *pickle_node(const struct pickle *pickle, pickle_id id);
/* The value under a key of a DICT or RECORD, the last one if the key stands there twice; 0 if there is none. */
pickle_id pickle_get(const struct pickle *pickle, pickle_id id, const char *key);
/* Text of a STRING or STORAGE; `length` bytes. */
const char *pickle_text(const struct pickle *pickle, const struct pickle_node *node, size_t *length);
/* "module.name" of a GLOBAL, or of what made an OPAQUE; memory_release. */
char *pickle_global_name(const struct pickle *pickle, const struct pickle_node *node);
#endif
