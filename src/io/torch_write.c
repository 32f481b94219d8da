#include "io/torch_write.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

/* Records begin on 64 bytes, so that they can be used where they lie. */
enum { ALIGNMENT = 64, LOCAL_BYTES = 30, LONG_FIELD_BYTES = 20, FIELD_BYTES = 4 };
static const uint64_t LONG = 0xffffffff;

struct archive {
  FILE *out;
  uint64_t at;
  struct text directory;
  uint64_t records;
};

static void number(struct text *text, uint64_t value, int bytes) {
  for (int i = 0; i < bytes; i++)
    text_append(text, &(char){(char)(i < 8 ? value >> (8 * i) : 0)}, 1);
}

static enum status write_out(struct archive *archive, const void *data, size_t size) {
  archive->at += size;
  return size == 0 || fwrite(data, 1, size, archive->out) == size
             ? STATUS_OK
             : error_set(STATUS_SYSTEM, "cannot write: %s", strerror(errno));
}

/* What the record's own header and its entry in the directory share, up to the lengths of name and extra field. */
static void common_fields(struct text *text, uint32_t crc, uint64_t size, size_t name_length, size_t extra_length) {
  const uint64_t shown = size >= LONG ? LONG : size;
  number(text, size >= LONG ? 45 : 20, 2);       /* version needed */
  number(text, 0, 4);                            /* flags, method: stored */
  number(text, (uint64_t)(1 | 1 << 5) << 16, 4); /* 1980-01-01: no clock in the file */
  number(text, crc, 4);
  number(text, shown, 4);
  number(text, shown, 4);
  number(text, name_length, 2);
  number(text, extra_length, 2);
}

static void directory_entry(struct archive *archive, const char *name, uint32_t crc, uint64_t size, uint64_t offset) {
  struct text *text = &archive->directory;
  struct text longs = {0};
  if (size >= LONG) {
    number(&longs, size, 8);
    number(&longs, size, 8);
  }
  if (offset >= LONG)
    number(&longs, offset, 8);
  number(text, 0x02014b50, 4);
  number(text, 45, 2);
  common_fields(text, crc, size, strlen(name), longs.length ? FIELD_BYTES + longs.length : 0);
  number(text, 0, 10);
  number(text, offset >= LONG ? LONG : offset, 4);
  text_append_string(text, name);
  if (longs.length) {
    number(text, 1, 2);
    number(text, longs.length, 2);
    text_append(text, longs.data, longs.length);
  }
  text_release(&longs);
}

static enum status write_record(struct archive *archive, const char *name, const void *data, size_t size) {
  const uint32_t crc = (uint32_t)crc32_z(0, data, size);
  const uint64_t offset = archive->at;
  const size_t longs = size >= LONG ? LONG_FIELD_BYTES : 0, before = LOCAL_BYTES + strlen(name) + longs + FIELD_BYTES,
               padding = (ALIGNMENT - (archive->at + before) % ALIGNMENT) % ALIGNMENT;
  struct text header = {0};
  number(&header, 0x04034b50, 4);
  common_fields(&header, crc, size, strlen(name), longs + FIELD_BYTES + padding);
  text_append_string(&header, name);
  if (longs) {
    number(&header, 1, 2);
    number(&header, 16, 2);
    number(&header, size, 8);
    number(&header, size, 8);
  }
  text_append(&header, "FB", 2); /* torch's own name for its padding */
  number(&header, padding, 2);
  for (size_t i = 0; i < padding; i++)
    text_append(&header, "Z", 1);
  enum status status = write_out(archive, header.data, header.length);
  text_release(&header);
  if (status == STATUS_OK)
    status = write_out(archive, data, size);
  directory_entry(archive, name, crc, size, offset);
  archive->records++;
  return status;
}

static enum status write_directory(struct archive *archive) {
  const uint64_t begin = archive->at, bytes = archive->directory.length, records = archive->records;
  const bool large = begin >= LONG || records >= 0xffff;
  struct text end = {0};
  enum status status = write_out(archive, archive->directory.data, archive->directory.length);
  if (large) {
    number(&end, 0x06064b50, 4);
    number(&end, 44, 8);
    number(&end, 45, 2);
    number(&end, 45, 2);
    number(&end, 0, 8);
    number(&end, records, 8);
    number(&end, records, 8);
    number(&end, bytes, 8);
    number(&end, begin, 8);
    number(&end, 0x07064b50, 4);
    number(&end, 0, 4);
    number(&end, begin + bytes, 8);
    number(&end, 1, 4);
  }
  number(&end, 0x06054b50, 4);
  number(&end, 0, 4);
  number(&end, large ? 0xffff : records, 2);
  number(&end, large ? 0xffff : records, 2);
  number(&end, large ? LONG : bytes, 4);
  number(&end, large ? LONG : begin, 4);
  number(&end, 0, 2);
  if (status == STATUS_OK)
    status = write_out(archive, end.data, end.length);
  text_release(&end);
  return status;
}

/* ---- the pickle */

static void put_string(struct text *pickle, const char *string) {
  text_append(pickle, "X", 1);
  number(pickle, strlen(string), 4);
  text_append_string(pickle, string);
}

static void put_integer(struct text *pickle, int64_t value) {
  if (value >= 0 && value <= INT32_MAX) {
    text_append(pickle, "J", 1);
    number(pickle, (uint64_t)value, 4);
  } else {
    text_append(pickle, "\x8a\x08", 2);
    number(pickle, (uint64_t)value, 8);
  }
}

static const char *storage_name(enum dtype dtype) {
  switch (dtype) {
  case DTYPE_F32:
    return "FloatStorage";
  case DTYPE_F16:
    return "HalfStorage";
  case DTYPE_BF16:
    return "BFloat16Storage";
  case DTYPE_F64:
    return "DoubleStorage";
  case DTYPE_I64:
    return "LongStorage";
  case DTYPE_I32:
    return "IntStorage";
  default:
    return "ByteStorage";
  }
}

/* _rebuild_tensor_v2(storage, 0, shape, strides, False, OrderedDict()) */
static void put_tensor(struct text *pickle, const struct tensor_entry *entry, int64_t storage) {
  char key[32];
  int64_t stride = 1, strides[TENSOR_AXES_MAX];
  snprintf(key, sizeof key, "%lld", (long long)storage);
  text_append_string(pickle, "ctorch._utils\n_rebuild_tensor_v2\n((");
  put_string(pickle, "storage");
  text_append_format(pickle, "ctorch\n%s\n", storage_name(entry->dtype));
  put_string(pickle, key);
  put_string(pickle, "cpu");
  put_integer(pickle, entry->elements);
  text_append_string(pickle, "tQ");
  put_integer(pickle, 0);
  for (int a = entry->axes - 1; a >= 0; a--) {
    strides[a] = stride;
    stride *= entry->shape[a];
  }
  for (int list = 0; list < 2; list++) {
    text_append_string(pickle, "(");
    for (int a = 0; a < entry->axes; a++)
      put_integer(pickle, list == 0 ? entry->shape[a] : strides[a]);
    text_append_string(pickle, "t");
  }
  text_append_string(pickle, "\x89"
                             "ccollections\nOrderedDict\n)RtR");
}

static void put_state(struct text *pickle, const struct torch_content *content) {
  text_append_string(pickle, "ccollections\nOrderedDict\n)R(");
  for (int64_t i = 0; i < content->count; i++) {
    put_string(pickle, content->entries[i].name);
    put_tensor(pickle, &content->entries[i], content->storage_of[i]);
  }
  text_append_string(pickle, "u");
}

static void put_pickle(struct text *pickle, const struct torch_content *content) {
  text_append(pickle, "\x80\x02", 2);
  if (!content->checkpoint) {
    put_state(pickle, content);
  } else {
    text_append_string(pickle, "}(");
    put_string(pickle, "epoch");
    put_integer(pickle, content->epoch);
    put_string(pickle, "name");
    put_string(pickle, content->name);
    put_string(pickle, "state_dict");
    put_state(pickle, content);
    text_append_string(pickle, "u");
  }
  text_append_string(pickle, ".");
}

/* ---- the file */

static enum status write_text(struct archive *archive, const char *top, const char *name, const char *text) {
  char *full = text_format("%s/%s", top, name);
  const enum status status = write_record(archive, full, text, strlen(text));
  memory_release(full);
  return status;
}

static enum status write_tensor(struct archive *archive, const char *top, const struct torch_content *content,
                                int64_t entry_number) {
  const struct tensor_entry *entry = &content->entries[entry_number];
  const size_t size = (size_t)entry->elements * dtype_size(entry->dtype);
  char *name = text_format("%s/data/%lld", top, (long long)entry_number);
  void *buffer = entry->data ? NULL : memory_allocate(size, "tensor being written");
  enum status status = entry->data ? STATUS_OK : content->reader->read(content->reader->context, entry, buffer);
  if (status == STATUS_OK)
    status = write_record(archive, name, entry->data ? entry->data : buffer, size);
  memory_release(buffer);
  memory_release(name);
  return status;
}

static enum status write_records(struct archive *archive, const char *top, const struct torch_content *content) {
  struct text pickle = {0};
  put_pickle(&pickle, content);
  char *name = text_format("%s/data.pkl", top);
  enum status status = write_record(archive, name, pickle.data, pickle.length);
  memory_release(name);
  text_release(&pickle);
  TRY(status);
  TRY(write_text(archive, top, ".format_version", "1"));
  TRY(write_text(archive, top, ".storage_alignment", "64"));
  TRY(write_text(archive, top, "byteorder", "little"));
  for (int64_t i = 0; i < content->count; i++)
    if (content->storage_of[i] == i)
      TRY(write_tensor(archive, top, content, i));
  TRY(write_text(archive, top, "version", "3\n"));
  return write_directory(archive);
}

/* The folder of the records: the file's name without what follows its first dot, as torch does it. */
static char *top_of(const char *path) {
  const char *name = text_base_name(path);
  const size_t length = strcspn(name, ".");
  return length > 0 ? text_format("%.*s", (int)length, name) : memory_copy_string("archive", "folder");
}

enum status torch_write(const char *path, const struct torch_content *content) {
  char *temporary = text_format("%s.tmp.%ld", path, (long)getpid()), *top = top_of(path);
  struct archive archive = {.out = fopen(temporary, "we")};
  enum status status = archive.out ? write_records(&archive, top, content)
                                   : error_set(STATUS_SYSTEM, "cannot create %s: %s", temporary, strerror(errno));
  if (archive.out && fclose(archive.out) != 0 && status == STATUS_OK)
    status = error_set(STATUS_SYSTEM, "cannot write: %s", strerror(errno));
  if (status == STATUS_OK)
    status = file_publish(temporary, path);
  else if (archive.out)
    error_context(status, "%s", path);
  if (status != STATUS_OK && archive.out)
    unlink(temporary);
  text_release(&archive.directory);
  memory_release(top);
  memory_release(temporary);
  return status;
}
