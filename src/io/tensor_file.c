#include "io/tensor_file.h"
#include "base/memory.h"
#include "io/host_tensor.h"
#include "io/tensor_file_private.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { INDEX_BYTES_MAX = 1 << 20, SHARDS_MAX = 1000 };

struct tensor_file_source *tensor_file_add_source(struct tensor_file *file) {
  file->sources =
      memory_resize(file->sources, (size_t)(file->source_count + 1) * sizeof *file->sources, "tensor file sources");
  return &file->sources[file->source_count++];
}

struct tensor_view *tensor_file_add_view(struct tensor_file *file) {
  if ((file->count & (file->count - 1)) == 0) /* a power of two is full */
    file->views =
        memory_resize(file->views, (size_t)(file->count ? 2 * file->count : 1) * sizeof *file->views, "views");
  struct tensor_view *view = &file->views[file->count++];
  *view = (struct tensor_view){0};
  return view;
}

static enum status add_safetensors(struct tensor_file *file, const char *path) {
  struct tensor_file_source *source = tensor_file_add_source(file);
  TRY(safetensors_open(path, &source->safetensors));
  for (int64_t i = 0; i < source->safetensors.count; i++) {
    const struct tensor_entry *entry = &source->safetensors.entries[i];
    struct tensor_view *view = tensor_file_add_view(file);
    view->name = memory_copy_string(entry->name, "tensor name");
    view->dtype = entry->dtype;
    view->axes = entry->axes;
    view->elements = entry->elements;
    view->data = entry->data;
    view->contiguous = true;
    int64_t stride = 1;
    for (int a = entry->axes - 1; a >= 0; a--) {
      view->shape[a] = entry->shape[a];
      view->stride[a] = stride;
      stride *= entry->shape[a];
    }
  }
  return STATUS_OK;
}

/* ---- a set of safetensors files with an index: {"weight_map": {tensor: file, ...}} */

static enum status add_shards(struct tensor_file *file, const char *folder, json_t *map) {
  const char *name, *files[SHARDS_MAX];
  int count = 0;
  json_t *value;
  json_object_foreach(map, name, value) {
    const char *shard = json_string_value(value);
    int i = 0;
    if (!shard || strchr(shard, '/') || shard[0] == '.')
      return error_set(STATUS_INPUT, "weight_map: %.200s is in no file of the same folder", name);
    while (i < count && strcmp(files[i], shard) != 0)
      i++;
    if (i < count)
      continue;
    if (count == SHARDS_MAX)
      return error_set(STATUS_INPUT, "weight_map names more than %d files", SHARDS_MAX);
    files[count++] = shard;
    char *path = text_join_path(folder, shard);
    const enum status status = add_safetensors(file, path);
    memory_release(path);
    TRY(status);
  }
  for (int64_t i = 0; i < file->count; i++)
    if (!json_object_get(map, file->views[i].name))
      return error_set(STATUS_INPUT, "weight_map does not list %.200s, which the files hold", file->views[i].name);
  return (size_t)file->count == json_object_size(map)
             ? STATUS_OK
             : error_set(STATUS_INPUT, "weight_map lists %zu tensors, the files hold %lld", json_object_size(map),
                         (long long)file->count);
}

static enum status read_index(struct tensor_file *file) {
  struct file_map map;
  json_error_t error;
  TRY(file_map(file->path, &map));
  if (map.size > INDEX_BYTES_MAX) {
    const enum status status = error_set(STATUS_INPUT, "%s: an index of %zu bytes; none is longer than %d", file->path,
                                         map.size, INDEX_BYTES_MAX);
    file_unmap(&map);
    return status;
  }
  json_t *root = json_loadb((const char *)map.data, map.size, JSON_REJECT_DUPLICATES, &error);
  json_t *weight_map = json_object_get(root, "weight_map");
  char *folder = text_format("%.*s", (int)(text_base_name(file->path) - file->path), file->path);
  const enum status status =
      json_is_object(weight_map)
          ? add_shards(file, folder, weight_map)
          : error_set(STATUS_INPUT, "not an index of safetensors files: \"weight_map\" is missing");
  memory_release(folder);
  json_decref(root);
  file_unmap(&map);
  return status == STATUS_OK ? status : error_context(status, "%s", file->path);
}

/* ---- which file, and of what kind */

/* In a folder, the first of these that exists: open_clip's order, with Hugging Face's sets. */
static enum status resolve(const char *path, char **resolved) {
  static const char *const names[] = {"open_clip_model.safetensors",
                                      "open_clip_pytorch_model.safetensors",
                                      "open_clip_pytorch_model.bin",
                                      "open_clip_pytorch_model.pth",
                                      "model.safetensors",
                                      "model.safetensors.index.json",
                                      "pytorch_model.bin",
                                      "pytorch_model.pth",
                                      "model.pth"};
  *resolved = NULL;
  if (!file_is_directory(path))
    *resolved = memory_copy_string(path, "path");
  for (size_t i = 0; i < sizeof names / sizeof *names && !*resolved; i++) {
    char *candidate = text_join_path(path, names[i]);
    if (file_exists(candidate))
      *resolved = candidate;
    else
      memory_release(candidate);
  }
  if (*resolved)
    return STATUS_OK;
  char *metadata = text_join_path(path, ".metadata");
  const bool distributed = file_exists(metadata);
  memory_release(metadata);
  if (distributed)
    return error_set(STATUS_INPUT,
                     "%s is a checkpoint in torch's distributed form, which is not read: turn it into one file with "
                     "'python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER FILE.pt'",
                     path);
  return error_set(STATUS_INPUT, "%s is a folder without weights of a usual name (%s, %s, ...): name the file", path,
                   names[0], names[4]);
}

/* Files that are no weights in a form of ours, by how they begin. */
static enum status refuse_foreign(const struct file_map *map) {
  static const struct {
    const char *begin, *words;
    size_t length, at;
  } foreign[] = {
      {"\x80\x02\x8a\x0a",
       "a torch file from before version 1.6, not a zip archive: load it in PyTorch and save it "
       "again with torch.save",
       4, 0},
      {"\x80",
       "a bare pickle, which torch.save has not written since version 1.6: load it where it was made and save "
       "the tensors as safetensors or with torch.save",
       1, 0},
      {"\x89HDF\r\n", "an HDF5 file: memclip reads it as it is", 6, 0},
      {"version https://git-lfs", "a Git LFS pointer, not the weights themselves: fetch them with 'git lfs pull'", 23,
       0},
      {"\x1f\x8b", "compressed with gzip: decompress it first", 2, 0},
      {"ustar", "a tar archive: unpack it first (torch files of that form are from before version 0.4)", 5, 257},
      {"<", "a web page or XML, not weights", 1, 0},
  };
  for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
    if (map->size >= foreign[i].at + foreign[i].length &&
        memcmp(map->data + foreign[i].at, foreign[i].begin, foreign[i].length) == 0)
      return error_set(STATUS_INPUT, "%s", foreign[i].words);
  return STATUS_OK;
}

static enum status look_at(const char *path, bool *zip) {
  struct file_map map;
  TRY(file_map(path, &map));
  *zip = zip_is_archive(map.data, map.size);
  /* a header of safetensors may have any length, so its first bytes may be anything */
  const bool header = map.size > 8 && map.data[8] == '{' && map.data[7] == 0;
  const enum status status = *zip || header ? STATUS_OK : refuse_foreign(&map);
  file_unmap(&map);
  return status == STATUS_OK ? status : error_context(status, "%s", path);
}

static int compare_names(const void *a, const void *b) {
  return strcmp(((const struct tensor_view *)a)->name, ((const struct tensor_view *)b)->name);
}

static enum status check_names(struct tensor_file *file) {
  if (file->count == 0)
    return error_set(STATUS_INPUT, "%s holds no tensors", file->path);
  qsort(file->views, (size_t)file->count, sizeof *file->views, compare_names);
  for (int64_t i = 1; i < file->count; i++)
    if (strcmp(file->views[i - 1].name, file->views[i].name) == 0)
      return error_set(STATUS_INPUT, "%s: two tensors are named %s", file->path, file->views[i].name);
  return STATUS_OK;
}

static enum status read_file(struct tensor_file *file, const char *key) {
  bool zip;
  if (text_ends_with(file->path, ".index.json")) {
    file->what = memory_copy_string("set of safetensors files", "kind of file");
    return read_index(file);
  }
  TRY(look_at(file->path, &zip));
  if (zip)
    return torch_file_read(file, key);
  file->what = memory_copy_string("safetensors", "kind of file");
  return add_safetensors(file, file->path);
}

enum status tensor_file_open(const char *path, const char *key, struct tensor_file *file) {
  *file = (struct tensor_file){0};
  enum status status = resolve(path, &file->path);
  if (status == STATUS_OK)
    status = read_file(file, key);
  if (status == STATUS_OK)
    status = check_names(file);
  if (status != STATUS_OK)
    tensor_file_close(file);
  return status;
}

void tensor_file_close(struct tensor_file *file) {
  for (int64_t i = 0; i < file->count; i++)
    memory_release(file->views[i].name);
  for (int i = 0; i < file->source_count; i++) {
    safetensors_close(&file->sources[i].safetensors);
    zip_close(&file->sources[i].zip);
  }
  memory_release(file->sources);
  memory_release(file->views);
  memory_release(file->path);
  memory_release(file->what);
  text_release(&file->notes);
  *file = (struct tensor_file){0};
}

/* ---- reading */

enum status tensor_view_check(const struct tensor_view *view) {
  const enum status status = view->record ? zip_check(view->record) : STATUS_OK;
  return status == STATUS_OK ? status : error_context(status, "%s", view->name);
}

/* Elements in row-major order, one after the other. */
static void gather(const struct tensor_view *view, unsigned char *to) {
  const size_t size = dtype_size(view->dtype);
  int64_t index[TENSOR_AXES_MAX] = {0}, offset = 0;
  for (int64_t i = 0; i < view->elements; i++, to += size) {
    memcpy(to, (const unsigned char *)view->data + (size_t)offset * size, size);
    for (int a = view->axes - 1; a >= 0; a--) {
      offset += view->stride[a];
      if (++index[a] < view->shape[a])
        break;
      offset -= view->stride[a] * view->shape[a];
      index[a] = 0;
    }
  }
}

enum status tensor_view_read(const struct tensor_view *view, enum dtype dtype, void *data) {
  enum status status = tensor_view_check(view);
  TRY(status);
  if (view->contiguous) {
    status = host_tensor_convert(data, dtype, view->data, view->dtype, view->elements);
  } else {
    void *gathered = memory_allocate((size_t)view->elements * dtype_size(view->dtype), "gathered tensor");
    gather(view, gathered);
    status = host_tensor_convert(data, dtype, gathered, view->dtype, view->elements);
    memory_release(gathered);
  }
  return status == STATUS_OK ? status : error_context(status, "%s", view->name);
}

void tensor_view_forget(const struct tensor_view *view) {
  const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), begin = ((uintptr_t)view->data + page - 1) / page * page;
  const uintptr_t end = ((uintptr_t)view->data + (size_t)view->elements * dtype_size(view->dtype)) / page * page;
  if (view->contiguous && end > begin)
    madvise((void *)begin, end - begin, MADV_DONTNEED);
}
