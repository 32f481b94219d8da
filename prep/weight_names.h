/* Names of weights in the files of others, and what becomes of each: one table of rules leads them to open_clip's
 * names, which are ours. Hugging Face keeps query, key and value apart and stores projections transposed; wrappers put
 * prefixes before a name; buffers that are no weights are passed over. */
#ifndef MEMCLIP_PREP_WEIGHT_NAMES_H
#define MEMCLIP_PREP_WEIGHT_NAMES_H
#include "io/tensor_file.h"

enum weight_change {
  WEIGHT_SAME,
  WEIGHT_TRANSPOSED,
  WEIGHT_QUERY, /* the first third of a packed projection */
  WEIGHT_KEY,
  WEIGHT_VALUE,
  WEIGHT_PASSED_OVER, /* no weight, or unused: `reason` says what it is */
  WEIGHT_FOREIGN      /* of another architecture: `reason` says which */
};
enum { WEIGHT_PARTS = 3 };
struct weight_name {
  char *name; /* in our terms; memory_release */
  enum weight_change change;
  bool hugging_face;
  const char *reason;
};
void weight_name_resolve(const char *source, struct weight_name *name);

/* A tensor under our name. Shape and order are those after the change. */
struct weight {
  char *name;
  enum weight_change change;
  const char *reason;
  const struct tensor_view *parts[WEIGHT_PARTS]; /* one, or query, key, value */
  int axes;
  int64_t shape[TENSOR_AXES_MAX], elements;
  bool taken; /* for the importer */
};
struct weight_list {
  struct weight *items; /* in the order of their names */
  int64_t count;
  bool hugging_face; /* some name was in Hugging Face's form */
};
/* STATUS_INPUT when two tensors get one name, a third of a projection is missing or of another shape, or a tensor is of
 * another architecture. */
enum status weight_list_make(const struct tensor_file *file, struct weight_list *list);
void weight_list_release(struct weight_list *list);
struct weight *weight_find(const struct weight_list *list, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* The elements in the order of `weight->shape`, converted. */
enum status weight_read(const struct weight *weight, enum dtype dtype, void *data);
enum dtype weight_dtype(const struct weight *weight);
/* The bytes where they lie when they need no change, checked; else NULL. */
enum status weight_in_place(const struct weight *weight, const void **data);
#endif
