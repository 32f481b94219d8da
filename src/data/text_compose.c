/* Normal form C: decompose, order the marks, compose. The order is made here, since utf8proc's takes the square of the
 * number of marks on a letter. */
#include "base/memory.h"
#include "data/text_clean.h"
#include <stdlib.h>
#include <utf8proc.h>

enum { PARTS_MAX = 8, FIRST_MARK = 0x300, BEFORE_TRAILING_CONSONANTS = 0x11a7 };

/* Nothing below U+0300 decomposes to what does not compose again. */
static bool is_composed(const struct codes *codes) {
  for (size_t i = 0; i < codes->length; i++)
    if (codes->data[i] >= FIRST_MARK)
      return false;
  return true;
}

static int mark_class(int32_t code) {
  return code < FIRST_MARK ? 0 : utf8proc_get_property(code)->combining_class;
}

static int compare_keys(const void *a, const void *b) {
  const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

/* By class, those of one class as they stand: key = class, place, code. */
static void sort_marks(int32_t *marks, size_t count) {
  enum { CODE_BITS = 21, CLASS_SHIFT = 56 };
  uint64_t *keys = memory_allocate(count * sizeof *keys, "marks");
  for (size_t i = 0; i < count; i++)
    keys[i] = (uint64_t)mark_class(marks[i]) << CLASS_SHIFT | (uint64_t)i << CODE_BITS | (uint64_t)marks[i];
  qsort(keys, count, sizeof *keys, compare_keys);
  for (size_t i = 0; i < count; i++)
    marks[i] = (int32_t)(keys[i] & ((1 << CODE_BITS) - 1));
  memory_release(keys);
}

static void order_marks(struct codes *codes) {
  for (size_t at = 0; at < codes->length;) {
    size_t end = at;
    bool ordered = true;
    for (int last = 0, class; end < codes->length && (class = mark_class(codes->data[end])) != 0; end++, last = class)
      ordered = ordered && class >= last;
    if (!ordered)
      sort_marks(codes->data + at, end - at);
    at = end + (end == at);
  }
}

/* utf8proc swallows U+11A7 behind a Hangul syllable, though it composes with nothing: the text is composed in stretches
 * between them. */
static void compose(struct codes *codes) {
  size_t kept = 0;
  for (size_t at = 0; at < codes->length;) {
    int32_t *stretch = codes->data + at;
    size_t length = 0;
    while (at + length < codes->length && stretch[length] != BEFORE_TRAILING_CONSONANTS)
      length++;
    const utf8proc_ssize_t composed =
        utf8proc_normalize_utf32(stretch, (utf8proc_ssize_t)length, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    for (utf8proc_ssize_t i = 0; i < composed; i++)
      codes->data[kept++] = stretch[i];
    at += length;
    if (at < codes->length)
      codes->data[kept++] = codes->data[at++];
  }
  codes->length = kept;
}

void text_compose(struct codes *codes) {
  if (is_composed(codes))
    return;
  struct codes out = {0};
  for (size_t i = 0; i < codes->length; i++) {
    utf8proc_int32_t parts[PARTS_MAX];
    const utf8proc_ssize_t count =
        utf8proc_decompose_char(codes->data[i], parts, PARTS_MAX, UTF8PROC_STABLE | UTF8PROC_DECOMPOSE, NULL);
    if (count > 0 && count <= PARTS_MAX)
      codes_append_all(&out, parts, (size_t)count);
    else
      codes_append(&out, codes->data[i]);
  }
  order_marks(&out);
  compose(&out);
  codes_swap(codes, &out);
  codes_release(&out);
}
