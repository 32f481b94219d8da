/* Lists of paths in short: "a::b", "{00000..00012}" with its zeros kept, "{a,b}", nesting; "${NAME}" is the environment
 * variable WDS_NAME. */
#include "data/source.h"
#include "base/memory.h"
#include "base/text.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATHS_LIMIT = 10000000 };

struct path_list {
  char **paths;
  int count, capacity;
};

static enum status add_path(struct path_list *list, char *path) {
  if (list->count == PATHS_LIMIT) {
    memory_release(path);
    return error_set(STATUS_INPUT, "the brace list stands for more than %d paths", PATHS_LIMIT);
  }
  if (list->count == list->capacity) {
    list->capacity = list->capacity == 0 ? 16 : 2 * list->capacity;
    list->paths = memory_resize(list->paths, (size_t)list->capacity * sizeof list->paths[0], "paths");
  }
  list->paths[list->count++] = path;
  return STATUS_OK;
}

/* The brace that closes the one at `open`, NULL if there is none; *list tells of a comma or ".." between them, outside
 * inner braces. */
static const char *closing_brace(const char *open, bool *list) {
  int depth = 0;
  *list = false;
  for (const char *p = open; *p; p++) {
    if (*p == '{')
      depth++;
    else if (*p == '}' && --depth == 0)
      return p;
    else if (depth == 1 && (*p == ',' || (p[0] == '.' && p[1] == '.')))
      *list = true;
  }
  return NULL;
}

static enum status expand(const char *pattern, struct path_list *list);

static enum status expand_choice(const char *pattern, const char *open, const char *close, const char *choice,
                                 size_t length, struct path_list *list) {
  char *one = text_format("%.*s%.*s%s", (int)(open - pattern), pattern, (int)length, choice, close + 1);
  enum status status = expand(one, list);
  memory_release(one);
  return status;
}

/* "first..last" or "first..last..step": numbers, or letters A to Z and on to a to z; up or down, whatever the step's
 * sign. Numbers are as wide as the longer of the two if either begins with a zero, as in the shell. */
struct range {
  bool letters;
  long long first, last, step;
  int width;
};
static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/* Digits with or without a sign, at *at, which moves behind them; *width is set when zeros lead. */
static bool parse_number(const char **at, long long *value, int *width) {
  enum { DIGITS_MAX = 15 };
  const char *digits = *at + (**at == '-');
  char *end;
  if (!isdigit((unsigned char)*digits))
    return false;
  *value = strtoll(*at, &end, 10);
  if (digits[0] == '0' && end - digits > 1)
    *width = 1;
  const bool fits = end - digits <= DIGITS_MAX;
  *at = end;
  return fits;
}

static bool parse_letter(const char **at, long long *value) {
  const char *letter = **at ? strchr(alphabet, **at) : NULL;
  *value = letter ? letter - alphabet : 0;
  *at += letter != NULL;
  return letter != NULL;
}

static bool skip_dots(const char **at) {
  const bool dots = (*at)[0] == '.' && (*at)[1] == '.';
  *at += dots ? 2 : 0;
  return dots;
}

static bool parse_range(const char *open, const char *close, struct range *range) {
  const char *at = open + 1;
  long long *const bounds[2] = {&range->first, &range->last};
  int lengths[2], unused = 0;
  *range = (struct range){.letters = isalpha((unsigned char)*at), .step = 1};
  for (int i = 0; i < 2; i++) {
    const char *start = at;
    if (!(range->letters ? parse_letter(&at, bounds[i]) : parse_number(&at, bounds[i], &range->width)))
      return false;
    lengths[i] = (int)(at - start);
    if (i == 0 && !skip_dots(&at))
      return false;
  }
  if (at < close && (!skip_dots(&at) || !parse_number(&at, &range->step, &unused)))
    return false;
  range->step = range->step == 0 ? 1 : llabs(range->step);
  if (range->width > 0)
    range->width = lengths[0] > lengths[1] ? lengths[0] : lengths[1];
  return at == close;
}

static enum status expand_range(const char *pattern, const char *open, const char *close, struct path_list *list) {
  struct range range;
  if (!parse_range(open, close, &range))
    return error_set(STATUS_INPUT, "%s: \"%.*s\" is no range of numbers or letters", pattern, (int)(close - open + 1),
                     open);
  const long long count = llabs(range.last - range.first) / range.step + 1;
  if (count > PATHS_LIMIT)
    return error_set(STATUS_INPUT, "the brace list stands for more than %d paths", PATHS_LIMIT);
  for (long long i = 0; i < count; i++) {
    const long long n = range.first + (range.first <= range.last ? i : -i) * range.step;
    char name[32];
    const int length = range.letters ? snprintf(name, sizeof name, "%c", alphabet[n])
                                     : snprintf(name, sizeof name, "%0*lld", range.width, n);
    TRY(expand_choice(pattern, open, close, name, (size_t)length, list));
  }
  return STATUS_OK;
}

static enum status expand_commas(const char *pattern, const char *open, const char *close, struct path_list *list) {
  int depth = 0;
  const char *start = open + 1;
  for (const char *p = start; p <= close; p++) {
    if (depth == 0 && (*p == ',' || p == close)) {
      TRY(expand_choice(pattern, open, close, start, (size_t)(p - start), list));
      start = p + 1;
    } else if (*p == '{')
      depth++;
    else if (*p == '}')
      depth--;
  }
  return STATUS_OK;
}

static bool has_comma(const char *open, const char *close) {
  int depth = 0;
  for (const char *p = open + 1; p < close; p++) {
    depth += (*p == '{') - (*p == '}');
    if (depth == 0 && *p == ',')
      return true;
  }
  return false;
}

/* The leftmost brace list is written out, the results expanded again; braces that hold no list stay as they are. */
static enum status expand(const char *pattern, struct path_list *list) {
  for (const char *open = strchr(pattern, '{'); open; open = strchr(open + 1, '{')) {
    bool is_list;
    const char *close = closing_brace(open, &is_list);
    if (!close)
      return error_set(STATUS_INPUT, "%s: a { without its }", pattern);
    if (is_list)
      return has_comma(open, close) ? expand_commas(pattern, open, close, list)
                                    : expand_range(pattern, open, close, list);
  }
  return add_path(list, memory_copy_string(pattern, "path"));
}

/* Every ${NAME} by the value of WDS_NAME, which may hold a list of its own. */
static enum status fill_variables(const char *pattern, struct text *out) {
  text_append(out, "", 0);
  for (const char *open; (open = strstr(pattern, "${")) != NULL;) {
    const char *close = strchr(open, '}');
    if (!close)
      return error_set(STATUS_INPUT, "%s: a ${ without its }", pattern);
    char *name = text_format("WDS_%.*s", (int)(close - open - 2), open + 2);
    const char *value = getenv(name);
    enum status status = value
                             ? STATUS_OK
                             : error_set(STATUS_INPUT, "%.*s stands for the environment variable %s, which is not set",
                                         (int)(close - open + 1), open, name);
    memory_release(name);
    TRY(status);
    text_append(out, pattern, (size_t)(open - pattern));
    text_append_string(out, value);
    pattern = close + 1;
  }
  text_append_string(out, pattern);
  return STATUS_OK;
}

/* Only files are read. "file:" is taken away. */
static enum status take_scheme(char *path) {
  static const char *const schemes[] = {"pipe:", "http:", "https:", "ftp:", "ftps:", "sftp:", "scp:", "gs:", "s3:"};
  for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++)
    if (text_starts_with(path, schemes[i]))
      return error_set(STATUS_INPUT,
                       "%s: samples are read one by one from files, not from \"%s\"; copy the shard first", path,
                       schemes[i]);
  if (strcmp(path, "-") == 0)
    return error_set(STATUS_INPUT, "\"-\": samples are read one by one from files, not from standard input");
  if (text_starts_with(path, "file:"))
    memmove(path, path + 5, strlen(path + 5) + 1);
  return STATUS_OK;
}

void source_release_paths(char **paths, int count) {
  for (int i = 0; i < count; i++)
    memory_release(paths[i]);
  memory_release(paths);
}

static enum status expand_parts(char *next, const char *pattern, struct path_list *list) {
  while (next) {
    char *part = next, *separator = strstr(next, "::");
    next = separator ? separator + 2 : NULL;
    if (separator)
      *separator = '\0';
    TRY(*part ? expand(part, list) : error_set(STATUS_INPUT, "\"%s\": an empty path in the list", pattern));
  }
  for (int i = 0; i < list->count; i++)
    TRY(take_scheme(list->paths[i]));
  return STATUS_OK;
}

enum status source_expand(const char *pattern, char ***paths, int *count) {
  struct path_list list = {0};
  struct text filled = {0};
  enum status status = fill_variables(pattern, &filled);
  if (status == STATUS_OK)
    status = expand_parts(filled.data, pattern, &list);
  text_release(&filled);
  if (status != STATUS_OK) {
    source_release_paths(list.paths, list.count);
    list = (struct path_list){0};
  }
  *paths = list.paths;
  *count = list.count;
  return status;
}
