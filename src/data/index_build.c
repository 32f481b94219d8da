/* Walks a tar once through libarchive and groups its members into samples. */
#include "data/index.h"
#include "base/checksum.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
#include <archive.h>
#include <archive_entry.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SUFFIXES_LIMIT = 65535, NOTES_LIMIT = 1000, READ_BYTES = 65536 };

/* Arrays as growing bytes: they are written one after another in the end. */
struct builder {
  const char *tar;
  int64_t tar_bytes;
  struct text offset, size, first, key_at, suffix, keys, suffix_names, notes;
  int64_t samples, members, suffix_count, note_count;
  struct text key, ending; /* of the member in hand */
  struct text current;     /* key of the sample in hand */
  uint32_t sample_first;   /* its first member */
  bool in_sample;
};

static void release(struct builder *b) {
  struct text *all[] = {&b->offset,       &b->size,  &b->first, &b->key_at, &b->suffix, &b->keys,
                        &b->suffix_names, &b->notes, &b->key,   &b->ending, &b->current};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
    text_release(all[i]);
}

static void note(struct builder *b, const char *name, const char *reason) {
  if (b->note_count == NOTES_LIMIT)
    return;
  text_append_format(&b->notes, "%s: %s: %s", text_base_name(b->tar), name, reason);
  text_append(&b->notes, "", 1);
  b->note_count++;
}

/* Key and suffix of a member: cut at the first dot of the base name, suffix in lower case. false: no member of any
 * sample, such as hidden files: macOS puts one beside every member, and they would part a sample in two. */
static bool split_name(struct builder *b, const char *name) {
  const char *base = text_base_name(name), *dot = strchr(base, '.');
  if (!dot || dot == base || dot[1] == '\0')
    return false;
  text_clear(&b->key);
  text_append(&b->key, name, (size_t)(dot - name));
  text_clear(&b->ending);
  text_append_string(&b->ending, dot + 1);
  for (size_t i = 0; i < b->ending.length; i++)
    b->ending.data[i] = (char)tolower((unsigned char)b->ending.data[i]);
  return true;
}

/* "__NAME__", or what lies below a folder of such a name at the top. */
static bool is_service(const char *name) {
  if (!text_starts_with(name, "__"))
    return false;
  const char *end = name + strcspn(name, "/");
  return end - name >= 4 && end[-1] == '_' && end[-2] == '_';
}

static bool climbs(const char *name) {
  for (const char *p = name; (p = strstr(p, "..")) != NULL; p += 2)
    if ((p == name || p[-1] == '/') && (p[2] == '/' || p[2] == '\0'))
      return true;
  return false;
}

/* Number of the suffix in hand, -1 when there are too many. Few are in use, so a walk is fast. */
static int suffix_number(struct builder *b) {
  int number = 0;
  for (const char *p = b->suffix_names.data; p && p < b->suffix_names.data + b->suffix_names.length;
       p += strlen(p) + 1, number++)
    if (strcmp(p, b->ending.data) == 0)
      return number;
  if (number == SUFFIXES_LIMIT)
    return -1;
  text_append(&b->suffix_names, b->ending.data, b->ending.length + 1);
  b->suffix_count++;
  return number;
}

static bool repeats(const struct builder *b, uint16_t suffix) {
  const uint16_t *all = (const uint16_t *)b->suffix.data;
  for (int64_t m = b->sample_first; m < b->members; m++)
    if (all[m] == suffix)
      return true;
  return false;
}

static void start_sample(struct builder *b) {
  uint32_t first = (uint32_t)b->members, key_at = (uint32_t)b->keys.length;
  text_append(&b->first, (const char *)&first, sizeof first);
  text_append(&b->key_at, (const char *)&key_at, sizeof key_at);
  text_append(&b->keys, b->key.data, b->key.length + 1);
  text_clear(&b->current);
  text_append(&b->current, b->key.data, b->key.length);
  b->sample_first = first;
  b->in_sample = true;
  b->samples++;
}

/* A new key or a repeated suffix starts a sample. */
static void add_member(struct builder *b, const char *name, int64_t offset, int64_t bytes) {
  int number = suffix_number(b);
  if (number < 0 || b->members == UINT32_MAX - 1 || b->keys.length + b->key.length >= UINT32_MAX) {
    note(b, name, "left out: the shard has more suffixes or members than an index holds");
    return;
  }
  uint16_t suffix = (uint16_t)number;
  if (!b->in_sample || strcmp(b->current.data, b->key.data) != 0 || repeats(b, suffix))
    start_sample(b);
  uint32_t size = (uint32_t)bytes;
  text_append(&b->offset, (const char *)&offset, sizeof offset);
  text_append(&b->size, (const char *)&size, sizeof size);
  text_append(&b->suffix, (const char *)&suffix, sizeof suffix);
  b->members++;
}

static void consider(struct builder *b, struct archive *archive, struct archive_entry *entry) {
  const char *name = archive_entry_pathname(entry);
  if (!name)
    name = archive_entry_pathname_utf8(entry);
  int64_t bytes = archive_entry_size(entry), offset = archive_filter_bytes(archive, 0);
  if (!name) {
    note(b, "a member", "left out: its name cannot be read");
    return;
  }
  const char *base = text_base_name(name);
  if (archive_entry_filetype(entry) != AE_IFREG || archive_entry_hardlink(entry) || is_service(name) || *base == '\0')
    return;
  if (climbs(name))
    note(b, name, "left out: a name with \"..\"");
  else if (archive_entry_sparse_count(entry) > 0)
    note(b, name, "left out: stored as a sparse file");
  else if (bytes > UINT32_MAX)
    note(b, name, "left out: 4 GiB or larger");
  else if (offset + bytes > b->tar_bytes)
    note(b, name, "left out: the tar ends inside it");
  else if (split_name(b, name))
    add_member(b, name, offset, bytes);
}

static enum status refuse(const struct builder *b, const char *reason) {
  return error_set(STATUS_INPUT, "%s is no tar: %s", b->tar, reason);
}

/* Members of a compressed tar cannot be reached one by one, so it is refused. */
static enum status check_plain(const struct builder *b, int file) {
  static const struct {
    const char *name, *tool, *magic;
    size_t length;
  } formats[] = {{"gzip", "gunzip", "\x1f\x8b", 2},
                 {"bzip2", "bunzip2", "BZh", 3},
                 {"xz", "unxz",
                  "\xfd"
                  "7zXZ",
                  5},
                 {"zstd", "unzstd", "\x28\xb5\x2f\xfd", 4}};
  char head[8] = {0};
  if (b->tar_bytes == 0)
    return error_set(STATUS_INPUT, "%s is empty", b->tar);
  ssize_t got = pread(file, head, sizeof head, 0);
  for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++)
    if (got >= (ssize_t)formats[i].length && memcmp(head, formats[i].magic, formats[i].length) == 0)
      return error_set(
          STATUS_INPUT,
          "%s is compressed (%s): samples are read one by one, so shards must be plain; decompress it with %s", b->tar,
          formats[i].name, formats[i].tool);
  return STATUS_OK;
}

static enum status walk(struct builder *b, struct archive *archive, int file) {
  TRY(check_plain(b, file));
  struct archive_entry *entry;
  archive_read_support_format_tar(archive);
  if (archive_read_open_fd(archive, file, READ_BYTES) != ARCHIVE_OK)
    return refuse(b, archive_error_string(archive));
  bool any = false;
  for (int code; (code = archive_read_next_header(archive, &entry)) != ARCHIVE_EOF; any = true) {
    if (code == ARCHIVE_OK || code == ARCHIVE_WARN) {
      consider(b, archive, entry);
      continue;
    }
    const char *reason = archive_error_string(archive);
    if (!any)
      return refuse(b, reason ? reason : "its first header cannot be read");
    note(b, "the rest of the tar is left out", reason ? reason : "a header cannot be read");
    break;
  }
  if (any)
    return STATUS_OK;
  note(b, "holds no member", "an empty archive");
  return STATUS_OK;
}

static enum status assemble(struct builder *b, int64_t modified_ns, struct index *index) {
  uint32_t end = (uint32_t)b->members;
  text_append(&b->first, (const char *)&end, sizeof end);
  struct index_header header = {.version = INDEX_VERSION,
                                .tar_modified_ns = modified_ns,
                                .tar_bytes = b->tar_bytes,
                                .samples = b->samples,
                                .members = b->members,
                                .suffixes = b->suffix_count,
                                .notes = b->note_count,
                                .keys_bytes = (int64_t)b->keys.length,
                                .suffix_bytes = (int64_t)b->suffix_names.length,
                                .note_bytes = (int64_t)b->notes.length};
  memcpy(header.magic, INDEX_MAGIC, sizeof header.magic);
  struct text block = {0};
  text_append(&block, (const char *)&header, sizeof header);
  const struct text *parts[] = {&b->offset, &b->size, &b->first,        &b->key_at,
                                &b->suffix, &b->keys, &b->suffix_names, &b->notes};
  for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
    text_append(&block, parts[i]->length > 0 ? parts[i]->data : "", parts[i]->length);
  size_t from = offsetof(struct index_header, tar_bytes);
  ((struct index_header *)block.data)->checksum = checksum_crc32c(0, block.data + from, block.length - from);
  if (!index_adopt(block.data, block.length, index))
    fatal("the index of %s is not what it should be", b->tar);
  return STATUS_OK;
}

enum status index_build(const char *tar, struct index *index) {
  struct builder b = {.tar = tar};
  int64_t modified_ns;
  TRY(file_stat(tar, &b.tar_bytes, &modified_ns));
  int file = open(tar, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  struct stat facts;
  if (file < 0)
    return error_set(STATUS_INPUT, "cannot read the shard %s: %s", tar, strerror(errno));
  if (fstat(file, &facts) != 0 || !S_ISREG(facts.st_mode)) {
    close(file);
    return error_set(STATUS_INPUT, "the shard %s is not a regular file", tar);
  }
  struct archive *archive = archive_read_new();
  enum status status = walk(&b, archive, file);
  archive_read_free(archive);
  close(file);
  if (status == STATUS_OK)
    status = assemble(&b, modified_ns, index);
  release(&b);
  return status;
}
