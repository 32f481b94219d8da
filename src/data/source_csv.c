/* Samples of a csv file: captions are read in place, images from the paths as they are written (relative to the working
 * directory). A caption is what the file says: "NA", "null" or nothing stay so, where pandas would turn them into NaN
 * and the word "nan". */
#include "data/source_private.h"
#include "base/checksum.h"
#include "base/memory.h"
#include "data/csv.h"
#include <inttypes.h>
#include <string.h>

enum { COLUMNS_LIMIT = 256 };

static enum status missing_column(const char *path, const char *wanted, char *const *columns, int count) {
  const char *nearest = text_nearest(wanted, (const char *const *)columns, (size_t)count);
  if (count == 1)
    return error_set(STATUS_INPUT,
                     "%s has no column \"%s\": its first line holds one column, so the separator may be another one",
                     path, wanted);
  return error_set(STATUS_INPUT, "%s has no column \"%s\"%s%s%s", path, wanted, nearest ? "; did you mean \"" : "",
                   nearest ? nearest : "", nearest ? "\"?" : "");
}

static int find_column(const char *wanted, char *const *columns, int count) {
  for (int i = 0; i < count; i++)
    if (strcmp(columns[i], wanted) == 0)
      return i;
  return -1;
}

static enum status read_header(struct source *source, const char *image, const char *caption, size_t *at) {
  struct csv_rows *csv = &source->csv;
  const char *bytes = (const char *)csv->map.data;
  char *columns[COLUMNS_LIMIT];
  int count = 0;
  struct text field = {0};
  if (csv->map.size >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0)
    *at = 3; /* byte order mark */
  for (bool more = *at < csv->map.size; more && count < COLUMNS_LIMIT;) {
    more = csv_next_field(bytes, csv->map.size, csv->separator, at, &field);
    columns[count++] = memory_copy_string(field.data, "csv column");
  }
  text_release(&field);
  csv->image_column = find_column(image, columns, count);
  csv->caption_column = find_column(caption, columns, count);
  csv->columns = count;
  enum status status = STATUS_OK;
  if (count == 0)
    status = error_set(STATUS_INPUT, "%s is empty", source->paths[0]);
  else if (csv->image_column < 0 || csv->caption_column < 0)
    status = missing_column(source->paths[0], csv->image_column < 0 ? image : caption, columns, count);
  for (int i = 0; i < count; i++)
    memory_release(columns[i]);
  return status;
}

static void add_row(struct csv_rows *csv, size_t start, const struct text *path) {
  int64_t row_at = (int64_t)start, path_at = (int64_t)csv->paths.length;
  text_append(&csv->row_at, (const char *)&row_at, sizeof row_at);
  text_append(&csv->path_at, (const char *)&path_at, sizeof path_at);
  text_append(&csv->paths, path->data, path->length + 1);
}

static bool blank_line(const char *bytes, size_t size, size_t *at) {
  if (bytes[*at] != '\r' && bytes[*at] != '\n')
    return false;
  *at += bytes[*at] == '\r' && *at + 1 < size && bytes[*at + 1] == '\n' ? 2 : 1;
  return true;
}

static void list_rows(struct source *source, size_t at) {
  struct csv_rows *csv = &source->csv;
  const char *bytes = (const char *)csv->map.data;
  struct text path = {0};
  for (int64_t line = 1; at < csv->map.size; line++) {
    if (blank_line(bytes, csv->map.size, &at))
      continue;
    size_t start = at;
    int columns = 0;
    text_clear(&path);
    for (bool more = true; more && at < csv->map.size; columns++)
      more = csv_next_field(bytes, csv->map.size, csv->separator, &at, columns == csv->image_column ? &path : NULL);
    /* An empty last caption ends with the separator and counts as there. */
    bool ends_open = at == csv->map.size && columns == csv->caption_column && bytes[at - 1] == csv->separator;
    if (columns > csv->columns)
      source_add_reason(source,
                        "%s: row %" PRId64 " left out: it has more columns than the first line; a separator inside a "
                        "caption needs quotes around the caption",
                        source->paths[0], line);
    else if (path.length > 0 && (columns > csv->caption_column || ends_open) && columns > csv->image_column)
      add_row(csv, start, &path);
    else
      source_add_reason(source, "%s: row %" PRId64 " left out: it has too few columns or no path", source->paths[0],
                        line);
  }
  text_release(&path);
  source->count = (int64_t)(csv->row_at.length / sizeof(int64_t));
}

static const char *or_default(const char *value, const char *standard) {
  return value && *value ? value : standard;
}

enum status source_open_csv(struct source *source, const struct source_options *options) {
  const char *separator = or_default(options->csv_separator, "\t");
  if (strcmp(separator, "\\t") == 0)
    separator = "\t";
  if (strlen(separator) != 1 || strchr("\"\r\n", separator[0]))
    return error_set(STATUS_INPUT, "csv_separator: \"%s\" is not one character", separator);
  source->csv.separator = separator[0];
  TRY(file_map(source->paths[0], &source->csv.map));
  size_t at = 0;
  TRY(read_header(source, or_default(options->csv_image, "filepath"), or_default(options->csv_caption, "title"), &at));
  list_rows(source, at);
  source->path_bounds[1] = source->count;
  uint32_t content = checksum_crc32c(0, source->csv.map.data, source->csv.map.size);
  source->fingerprint = source_hash(source->fingerprint, &content, sizeof content);
  source->fingerprint = source_hash(source->fingerprint, &source->count, sizeof source->count);
  return STATUS_OK;
}

enum status source_read_csv(const struct source *source, int64_t sample, struct text *image, struct text *caption) {
  const struct csv_rows *csv = &source->csv;
  if (image) {
    text_clear(image);
    TRY(file_read(source_key(source, sample), image));
  }
  if (!caption)
    return STATUS_OK;
  text_clear(caption);
  size_t at = (size_t)((const int64_t *)csv->row_at.data)[sample];
  for (int column = 0; column <= csv->caption_column && at < csv->map.size; column++)
    csv_next_field((const char *)csv->map.data, csv->map.size, csv->separator, &at,
                   column == csv->caption_column ? caption : NULL);
  return STATUS_OK;
}
