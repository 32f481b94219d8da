/* The names that a pickle may use, and what comes of calling them. Nothing is looked up or run. */
#include "base/memory.h"
#include "base/text.h"
#include "io/pickle_private.h"
#include <string.h>

enum global { /* what a known name makes */
              GLOBAL_UNKNOWN,
              GLOBAL_DICT,
              GLOBAL_TENSOR,
              GLOBAL_PARAMETER,
              GLOBAL_STORAGE,
              GLOBAL_RECORD
};
/* The allow-list. */
static const struct {
  const char *module, *name;
  enum global makes;
  enum dtype dtype;
} known[] = {
    {"", "", GLOBAL_UNKNOWN, 0},
    {"__torch__.", "", GLOBAL_RECORD, 0}, /* every class of a TorchScript archive: modules that begin so */
    {"collections", "OrderedDict", GLOBAL_DICT, 0},
    {"torch._utils", "_rebuild_tensor_v2", GLOBAL_TENSOR, 0},
    {"torch._utils", "_rebuild_tensor", GLOBAL_TENSOR, 0},
    {"torch._utils", "_rebuild_parameter", GLOBAL_PARAMETER, 0},
    {"torch._utils", "_rebuild_parameter_with_state", GLOBAL_PARAMETER, 0},
    {"torch", "FloatStorage", GLOBAL_STORAGE, DTYPE_F32},
    {"torch", "HalfStorage", GLOBAL_STORAGE, DTYPE_F16},
    {"torch", "BFloat16Storage", GLOBAL_STORAGE, DTYPE_BF16},
    {"torch", "DoubleStorage", GLOBAL_STORAGE, DTYPE_F64},
    {"torch", "LongStorage", GLOBAL_STORAGE, DTYPE_I64},
    {"torch", "IntStorage", GLOBAL_STORAGE, DTYPE_I32},
    {"torch", "ByteStorage", GLOBAL_STORAGE, DTYPE_U8},
    {"torch", "BoolStorage", GLOBAL_STORAGE, DTYPE_U8},
};
enum { KNOWN = sizeof known / sizeof *known, RECORD_ROW = 1 };

static bool is_text(const uint8_t *bytes, size_t length, const char *text) {
  return length == strlen(text) && memcmp(bytes, text, length) == 0;
}

pickle_id pickle_make_global(struct pickle_machine *machine, const uint8_t *module, size_t module_length,
                             const uint8_t *name, size_t name_length) {
  const char *records = known[RECORD_ROW].module;
  const pickle_id id = pickle_add_node(machine, PICKLE_GLOBAL);
  struct pickle_node *node = pickle_edit(machine, id);
  node->global.module_at = (uint32_t)(module - machine->out->bytes);
  node->global.module_length = (uint32_t)module_length;
  node->global.name_at = (uint32_t)(name - machine->out->bytes);
  node->global.name_length = (uint32_t)name_length;
  if (module_length > strlen(records) && memcmp(module, records, strlen(records)) == 0)
    node->detail = RECORD_ROW;
  for (uint8_t i = RECORD_ROW + 1; i < KNOWN; i++)
    if (is_text(module, module_length, known[i].module) && is_text(name, name_length, known[i].name))
      node->detail = i;
  return id;
}

char *pickle_global_name(const struct pickle *pickle, const struct pickle_node *node) {
  return text_format("%.*s.%.*s", (int)node->global.module_length, (const char *)pickle->bytes + node->global.module_at,
                     (int)node->global.name_length, (const char *)pickle->bytes + node->global.name_at);
}

static bool take_integers(const struct pickle *pickle, pickle_id id, int64_t *values, int *count) {
  pickle_id items[TENSOR_AXES_MAX];
  if (pickle_node(pickle, id)->kind != PICKLE_TUPLE && pickle_node(pickle, id)->kind != PICKLE_LIST)
    return false;
  if (!pickle_take_items(pickle, id, 0, TENSOR_AXES_MAX, items))
    return false;
  *count = (int)pickle_node(pickle, id)->items.count;
  for (int i = 0; i < *count; i++) {
    const struct pickle_node *item = pickle_node(pickle, items[i]);
    if (item->kind != PICKLE_INTEGER || item->integer < 0)
      return false;
    values[i] = item->integer;
  }
  return true;
}

/* (storage, offset, size, stride, ...). A storage that is opaque makes an opaque tensor. */
static enum status make_tensor(struct pickle_machine *machine, pickle_id arguments, pickle_id *result) {
  enum { STORAGE, OFFSET, SIZE, STRIDE, ARGUMENTS = 7 };
  const struct pickle *pickle = machine->out;
  pickle_id items[ARGUMENTS];
  struct pickle_tensor tensor = {0};
  int strides = 0;
  if (!pickle_take_items(pickle, arguments, STRIDE + 1, ARGUMENTS, items))
    return pickle_refuse(machine, "a tensor is described in an unknown way");
  const struct pickle_node *storage = pickle_node(pickle, items[STORAGE]), *offset = pickle_node(pickle, items[OFFSET]);
  if (storage->kind == PICKLE_OPAQUE) {
    *result = items[STORAGE];
    return STATUS_OK;
  }
  tensor.storage = items[STORAGE];
  tensor.offset = offset->integer;
  if (storage->kind != PICKLE_STORAGE || offset->kind != PICKLE_INTEGER || offset->integer < 0)
    return pickle_refuse(machine, "a tensor has no storage, or an impossible place in it");
  if (!take_integers(pickle, items[SIZE], tensor.shape, &tensor.axes) ||
      !take_integers(pickle, items[STRIDE], tensor.stride, &strides) || strides != tensor.axes)
    return pickle_refuse(machine, "a tensor has an impossible shape, impossible strides, or more than %d axes",
                         TENSOR_AXES_MAX);
  *result = pickle_add_node(machine, PICKLE_TENSOR);
  if (machine->out->tensor_count == machine->tensor_capacity) {
    machine->tensor_capacity = machine->tensor_capacity ? 2 * machine->tensor_capacity : 16;
    machine->out->tensors = memory_resize(machine->out->tensors,
                                          machine->tensor_capacity * sizeof *machine->out->tensors, "pickled tensors");
  }
  pickle_edit(machine, *result)->tensor = machine->out->tensor_count;
  machine->out->tensors[machine->out->tensor_count++] = tensor;
  return STATUS_OK;
}

/* What an unknown name makes carries that name, so that whoever wants it can say what it was. */
static pickle_id make_opaque(struct pickle_machine *machine, pickle_id callable) {
  const pickle_id id = pickle_add_node(machine, PICKLE_OPAQUE);
  const struct pickle_node *from = pickle_node(machine->out, callable);
  struct pickle_node *node = pickle_edit(machine, id);
  if (from->kind == PICKLE_GLOBAL || from->kind == PICKLE_OPAQUE) {
    node->global = from->global;
    node->offset = from->offset;
  }
  return id;
}

enum status pickle_call(struct pickle_machine *machine, pickle_id callable, pickle_id arguments, pickle_id *result) {
  const struct pickle_node *node = pickle_node(machine->out, callable);
  pickle_id items[4];
  switch (node->kind == PICKLE_GLOBAL ? known[node->detail].makes : GLOBAL_UNKNOWN) {
  case GLOBAL_TENSOR:
    return make_tensor(machine, arguments, result);
  case GLOBAL_PARAMETER: /* (tensor, requires_grad, hooks[, state]) */
    if (!pickle_take_items(machine->out, arguments, 2, 4, items))
      return pickle_refuse(machine, "a parameter is described in an unknown way");
    *result = items[0];
    return STATUS_OK;
  case GLOBAL_DICT:
    *result = pickle_node(machine->out, arguments)->items.count == 0 ? pickle_add_node(machine, PICKLE_DICT)
                                                                     : make_opaque(machine, callable);
    return STATUS_OK;
  case GLOBAL_RECORD:
    *result = pickle_add_node(machine, PICKLE_RECORD);
    return STATUS_OK;
  default:
    *result = make_opaque(machine, callable);
    return STATUS_OK;
  }
}

/* ("storage", type, key, location, elements). */
enum status pickle_make_storage(struct pickle_machine *machine, pickle_id description, pickle_id *result) {
  enum { WORD, TYPE, KEY, LOCATION, ELEMENTS, PARTS };
  pickle_id items[PARTS];
  if (!pickle_take_items(machine->out, description, PARTS, PARTS, items))
    return pickle_refuse(machine, "a persistent id that is no storage of torch");
  const struct pickle_node *word = pickle_node(machine->out, items[WORD]), *key = pickle_node(machine->out, items[KEY]),
                           *type = pickle_node(machine->out, items[TYPE]),
                           *elements = pickle_node(machine->out, items[ELEMENTS]);
  if (word->kind != PICKLE_STRING || !is_text(machine->out->bytes + word->text.at, word->text.length, "storage") ||
      type->kind != PICKLE_GLOBAL || key->kind != PICKLE_STRING || elements->kind != PICKLE_INTEGER ||
      elements->integer < 0)
    return pickle_refuse(machine, "a persistent id that is no storage of torch");
  const uint32_t at = key->text.at, key_length = key->text.length;
  const int64_t count = elements->integer;
  if (known[type->detail].makes != GLOBAL_STORAGE) { /* of a type that we do not read */
    *result = make_opaque(machine, items[TYPE]);
    return STATUS_OK;
  }
  const enum dtype dtype = known[type->detail].dtype;
  *result = pickle_add_node(machine, PICKLE_STORAGE);
  struct pickle_node *node = pickle_edit(machine, *result);
  node->detail = (uint8_t)dtype;
  node->text.at = at;
  node->text.length = key_length;
  node->text.elements = count;
  return STATUS_OK;
}
