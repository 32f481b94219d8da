/* torch's zip files: TOP/data.pkl says which tensors there are, TOP/data/KEY holds the bytes of a storage. TorchScript
 * archives are the same with a tree of objects instead of a dict, and with TOP/constants.pkl. */
#include "base/memory.h"
#include "io/pickle.h"
#include "io/tensor_file_private.h"
#include <string.h>

enum { DEPTH_MAX = 64, NAME_BYTES_MAX = 1000 };

struct reading {
  struct tensor_file *file;
  struct zip *zip;
  char *top; /* folder of all records, by whatever name */
  struct pickle pickle;
  int depth;
  int64_t visited;
};

static struct zip_record *find_record(const struct reading *reading, const char *name) {
  char *full = text_format("%s/%s", reading->top, name);
  struct zip_record *record = zip_find(reading->zip, full);
  memory_release(full);
  return record;
}

/* The one record TOP/data.pkl names the folder. */
static enum status find_top(struct reading *reading) {
  static const char wanted[] = "/data.pkl";
  const size_t length = sizeof wanted - 1;
  for (int64_t i = 0; i < reading->zip->count; i++) {
    const struct zip_record *record = &reading->zip->records[i];
    const size_t top = record->name_length > length ? record->name_length - length : 0;
    if (top == 0 || memcmp(record->name + top, wanted, length) != 0 || memchr(record->name, '/', top))
      continue;
    if (reading->top)
      return error_set(STATUS_INPUT, "two records are called data.pkl");
    reading->top = text_format("%.*s", (int)top, record->name);
  }
  return reading->top ? STATUS_OK
                      : error_set(STATUS_INPUT, "a zip archive without data.pkl: not a file that torch wrote (numpy's "
                                                ".npz is not read)");
}

static enum status check_byte_order(const struct reading *reading) {
  struct zip_record *order = find_record(reading, "byteorder");
  if (!order)
    return STATUS_OK;
  TRY(zip_check(order));
  return order->size == 6 && memcmp(order->data, "little", 6) == 0
             ? STATUS_OK
             : error_set(STATUS_INPUT, "the file was written on a big-endian machine");
}

/* Last element within the storage, storage as long as its record. */
static enum status check_extent(const struct tensor_view *view, int64_t offset, int64_t storage_elements) {
  int64_t last = offset, part, bytes;
  if (__builtin_mul_overflow(storage_elements, (int64_t)dtype_size(view->dtype), &bytes) ||
      (uint64_t)bytes != view->record->size)
    return error_set(STATUS_INPUT, "its storage of %lld elements has %llu bytes in the file: the file is damaged",
                     (long long)storage_elements, (unsigned long long)view->record->size);
  for (int a = 0; a < view->axes; a++)
    if (__builtin_mul_overflow(view->shape[a] > 0 ? view->shape[a] - 1 : 0, view->stride[a], &part) ||
        __builtin_add_overflow(last, part, &last))
      return error_set(STATUS_INPUT, "its shape and strides are impossible");
  if (view->elements > 0 && last >= storage_elements)
    return error_set(STATUS_INPUT, "it reaches beyond its storage of %lld elements: the file is damaged",
                     (long long)storage_elements);
  if (view->elements > storage_elements)
    return error_set(STATUS_INPUT, "it shows its %lld stored elements more than once, which no weight does",
                     (long long)storage_elements);
  return STATUS_OK;
}

static enum status fill_view(struct reading *reading, const struct pickle_tensor *tensor, struct tensor_view *view) {
  const struct pickle_node *storage = pickle_node(&reading->pickle, tensor->storage);
  size_t length;
  const char *key = pickle_text(&reading->pickle, storage, &length);
  char *name = text_format("data/%.*s", (int)length, key);
  int64_t expected = 1;
  view->record = find_record(reading, name);
  memory_release(name);
  if (!view->record)
    return error_set(STATUS_INPUT, "its storage %.*s is not in the file: the file is damaged", (int)length, key);
  view->dtype = (enum dtype)storage->detail;
  view->axes = tensor->axes;
  view->elements = 1;
  for (int a = 0; a < tensor->axes; a++) {
    view->shape[a] = tensor->shape[a];
    view->stride[a] = tensor->stride[a];
    if (__builtin_mul_overflow(view->elements, view->shape[a], &view->elements))
      return error_set(STATUS_INPUT, "its shape is impossible");
  }
  TRY(check_extent(view, tensor->offset, storage->text.elements));
  view->contiguous = true;
  for (int a = view->axes - 1; a >= 0; a--) {
    if (view->shape[a] != 1 && view->stride[a] != expected)
      view->contiguous = false;
    expected *= view->shape[a];
  }
  view->data = view->record->data + (size_t)tensor->offset * dtype_size(view->dtype);
  return STATUS_OK;
}

static enum status add_tensor(struct reading *reading, const char *name, pickle_id id) {
  const struct pickle_tensor *tensor = &reading->pickle.tensors[pickle_node(&reading->pickle, id)->tensor];
  struct tensor_view *view = tensor_file_add_view(reading->file);
  view->name = memory_copy_string(name, "tensor name");
  const enum status status = fill_view(reading, tensor, view);
  return status == STATUS_OK ? status : error_context(status, "tensor %.200s", name);
}

static enum status walk(struct reading *reading, const char *prefix, pickle_id id);

/* An entry of a state dict is a tensor, or a plain value that is passed over; what was made by an unknown name is not
 * passed over, since it could have been a tensor. Objects of a TorchScript archive contain objects. */
static enum status visit(struct reading *reading, const char *name, pickle_id id, bool object) {
  const struct pickle_node *node = pickle_node(&reading->pickle, id);
  if (++reading->visited > reading->pickle.cell_count) /* a few objects within one another make many names */
    return error_set(STATUS_INPUT, "the pickle lists values more than once");
  if (node->kind == PICKLE_TENSOR)
    return add_tensor(reading, name, id);
  if (node->kind == PICKLE_RECORD && object) {
    char *inner = text_format("%s.", name);
    const enum status status = walk(reading, inner, id);
    memory_release(inner);
    return status;
  }
  if (!object && (node->kind == PICKLE_OPAQUE || node->kind == PICKLE_GLOBAL || node->kind == PICKLE_RECORD)) {
    char *made_by = node->kind == PICKLE_RECORD ? memory_copy_string("an object", "global")
                                                : pickle_global_name(&reading->pickle, node);
    const enum status status =
        error_set(STATUS_INPUT,
                  "entry %.200s is no tensor but was made by %.200s (byte %u of the pickle), which is not run: refused",
                  name, made_by, node->offset);
    memory_release(made_by);
    return status;
  }
  return STATUS_OK;
}

static enum status walk(struct reading *reading, const char *prefix, pickle_id id) {
  const struct pickle_node node = *pickle_node(&reading->pickle, id);
  const bool object = node.kind == PICKLE_RECORD;
  uint32_t cell = node.items.first;
  enum status status = STATUS_OK;
  if (++reading->depth > DEPTH_MAX)
    return error_set(STATUS_INPUT, "the objects of the file are nested more than %d deep", DEPTH_MAX);
  for (uint32_t i = 0; status == STATUS_OK && i + 1 < node.items.count; i += 2) {
    const struct pickle_node *key = pickle_node(&reading->pickle, reading->pickle.cells[cell].value);
    const struct pickle_cell *value = &reading->pickle.cells[reading->pickle.cells[cell].next];
    cell = value->next;
    if (key->kind != PICKLE_STRING)
      return error_set(STATUS_INPUT, "a tensor's name is no string (byte %u of the pickle)", key->offset);
    size_t length;
    const char *text = pickle_text(&reading->pickle, key, &length);
    if (memchr(text, '\0', length) || !text_is_utf8(text, length))
      return error_set(STATUS_INPUT, "a tensor's name is not valid UTF-8 (byte %u of the pickle)", key->offset);
    char *name = text_format("%s%.*s", prefix, (int)length, text);
    status = strlen(name) > NAME_BYTES_MAX
                 ? error_set(STATUS_INPUT, "a tensor's name is longer than %d bytes", NAME_BYTES_MAX)
                 : visit(reading, name, value->value, object);
    memory_release(name);
  }
  reading->depth--;
  return status;
}

/* Or what may have been one. */
static bool holds_tensors(const struct pickle *pickle, pickle_id id) {
  const struct pickle_node *node = pickle_node(pickle, id);
  uint32_t cell = node->items.first;
  for (uint32_t i = 0; i + 1 < node->items.count; i += 2) {
    const struct pickle_cell *value = &pickle->cells[pickle->cells[cell].next];
    const enum pickle_kind kind = pickle_node(pickle, value->value)->kind;
    if (kind == PICKLE_TENSOR || kind == PICKLE_OPAQUE)
      return true;
    cell = value->next;
  }
  return false;
}

/* A training checkpoint has its tensors under a key, a bare state dict is the dict itself. */
static enum status choose_dict(struct reading *reading, const char *key, pickle_id *dict) {
  const struct pickle *pickle = &reading->pickle;
  const char *wanted = key ? key : "state_dict";
  const pickle_id inner = pickle_get(pickle, pickle->root, wanted), epoch = pickle_get(pickle, pickle->root, "epoch");
  const struct pickle_node *root = pickle_node(pickle, pickle->root);
  *dict = pickle->root;
  if (root->kind == PICKLE_DICT && inner && pickle_node(pickle, inner)->kind == PICKLE_DICT) {
    *dict = inner;
    reading->file->what = epoch && pickle_node(pickle, epoch)->kind == PICKLE_INTEGER
                              ? text_format("torch training checkpoint of epoch %lld, its %s",
                                            (long long)pickle_node(pickle, epoch)->integer, wanted)
                              : text_format("torch checkpoint, its %s", wanted);
    return STATUS_OK;
  }
  reading->file->what = memory_copy_string("torch state dict", "kind of file");
  if (root->kind == PICKLE_DICT && !key && holds_tensors(pickle, pickle->root))
    return STATUS_OK;
  if (root->kind == PICKLE_OPAQUE || root->kind == PICKLE_GLOBAL) {
    char *name = pickle_global_name(pickle, root);
    const enum status status = error_set(
        STATUS_INPUT,
        "the file is an object made by %.200s (byte %u of the pickle), not a dict of tensors; nothing of it was run. "
        "Save model.state_dict() instead of the model",
        name, root->offset);
    memory_release(name);
    return status;
  }
  return error_set(STATUS_INPUT, "the file holds no dict of tensors, neither itself nor under the key '%s'", wanted);
}

/* Names that were met and not followed, once each, with the offset of the first. */
static void note_unknown_names(struct reading *reading) {
  enum { NOTES_MAX = 20 };
  int noted = 0;
  for (uint32_t i = 1; i < reading->pickle.node_count && noted < NOTES_MAX; i++) {
    const struct pickle_node *node = &reading->pickle.nodes[i];
    if (node->kind != PICKLE_OPAQUE || node->global.name_length == 0)
      continue;
    char *name = pickle_global_name(&reading->pickle, node), *line = text_format("left alone, not run: %.200s", name);
    if (!reading->file->notes.data || !strstr(reading->file->notes.data, line)) {
      text_append_format(&reading->file->notes, "%s (byte %u of the pickle)\n", line, node->offset);
      noted++;
    }
    memory_release(name);
    memory_release(line);
  }
}

/* Classes of the archive's own modules, for those who ask which activation the model has. */
static void note_classes(struct reading *reading) {
  for (uint32_t i = 1; i < reading->pickle.node_count; i++) {
    const struct pickle_node *node = &reading->pickle.nodes[i];
    const char *name = (const char *)reading->pickle.bytes + node->global.name_at;
    if (node->kind != PICKLE_GLOBAL)
      continue;
    reading->file->quick_gelu_class |= node->global.name_length == 9 && memcmp(name, "QuickGELU", 9) == 0;
    reading->file->gelu_class |= node->global.name_length == 4 && memcmp(name, "GELU", 4) == 0;
  }
}

static enum status read_dict(struct reading *reading, const char *key) {
  pickle_id dict = reading->pickle.root;
  if (find_record(reading, "constants.pkl")) {
    reading->file->kind = TENSOR_FILE_TORCHSCRIPT;
    reading->file->what = memory_copy_string("TorchScript archive", "kind of file");
    note_classes(reading);
    if (pickle_node(&reading->pickle, dict)->kind != PICKLE_RECORD)
      return error_set(STATUS_INPUT, "a TorchScript archive that holds no module");
  } else {
    TRY(choose_dict(reading, key, &dict));
    note_unknown_names(reading);
  }
  return walk(reading, "", dict);
}

static enum status read_pickle(struct reading *reading, const char *key) {
  TRY(find_top(reading));
  TRY(check_byte_order(reading));
  struct zip_record *record = find_record(reading, "data.pkl");
  TRY(zip_check(record));
  enum status status = pickle_read(record->data, record->size, reading->zip->map.size, &reading->pickle);
  if (status == STATUS_OK)
    status = read_dict(reading, key);
  pickle_release(&reading->pickle);
  return status;
}

enum status torch_file_read(struct tensor_file *file, const char *key) {
  struct tensor_file_source *source = tensor_file_add_source(file);
  struct reading reading = {.file = file, .zip = &source->zip};
  file->kind = TENSOR_FILE_TORCH;
  TRY(zip_open(file->path, &source->zip));
  const enum status status = read_pickle(&reading, key);
  memory_release(reading.top);
  return status == STATUS_OK ? status : error_context(status, "%s", file->path);
}
