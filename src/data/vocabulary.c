/* Training of a byte-pair vocabulary: words with their counts, the most frequent pair merged first, ties by the lowest
 * pair of ids. The counts of pairs are kept up to date: a merge touches only the words that hold its pair, and a heap
 * says which pair is next, so that the time grows with the words touched and not with merges times pairs. */
#include "base/file.h"
#include "base/memory.h"
#include "data/text_clean.h"
#include "data/tokenizer_private.h"
#include <inttypes.h>
#include <string.h>
#include <utf8proc.h>
#include <zlib.h>

enum { BYTE_SYMBOLS = 256, FIRST_MERGE = 512, SYMBOLS_MAX = 49408, NAME_TABLE_SLOTS = 1 << 17 };

struct word {
  int64_t count;
  size_t offset, length; /* its bytes in `bytes`, later its symbols */
};
struct pair {
  int64_t count;
  int64_t queued; /* the greatest count of its entries in the heap */
  bool touched;
  int32_t left, right; /* -1: an empty slot */
  int32_t *words;      /* where it was once seen, in rising order or not, perhaps twice */
  size_t word_count, word_capacity;
};
/* Entries are not taken out when a pair's count falls: on top, one of a greater count than its pair has goes back in
 * with the count as it is. Every pair has an entry of at least its count, but those touched since. */
struct entry {
  int64_t count;
  int32_t left, right;
};
struct entry_list {
  struct entry *entries;
  size_t count, capacity;
};
struct trainer {
  struct word *words;
  size_t word_count, word_slots; /* hash table while words are counted */
  struct text bytes;
  int32_t *symbols; /* of all words, at their offsets */
  struct pair *pairs;
  size_t pair_count, pair_slots;
  struct entry_list heap, touched;
  struct text names;                    /* of all symbols as written in the file */
  size_t *name_ends;                    /* [symbols] */
  int32_t name_table[NAME_TABLE_SLOTS]; /* symbol + 1 by the hash of its name, 0: empty */
  int32_t symbol_count;
};

static uint64_t hash_of(const void *data, size_t length) {
  const uint8_t *bytes = data;
  uint64_t x = 1469598103934665603u;
  for (size_t i = 0; i < length; i++)
    x = (x ^ bytes[i]) * 1099511628211u;
  return x ^ x >> 31;
}

static struct word *find_word(struct word *table, size_t slots, const char *all, const char *bytes, size_t length) {
  size_t slot = hash_of(bytes, length) & (slots - 1);
  while (table[slot].count > 0 &&
         !(table[slot].length == length && memcmp(all + table[slot].offset, bytes, length) == 0))
    slot = (slot + 1) & (slots - 1);
  return &table[slot];
}

static void grow_words(struct trainer *trainer) {
  const size_t slots = trainer->word_slots ? trainer->word_slots * 2 : 4096;
  struct word *table = memory_allocate(slots * sizeof *table, "vocabulary");
  for (size_t i = 0; i < trainer->word_slots; i++) {
    const struct word *old = &trainer->words[i];
    if (old->count > 0)
      *find_word(table, slots, trainer->bytes.data, trainer->bytes.data + old->offset, old->length) = *old;
  }
  memory_release(trainer->words);
  trainer->words = table;
  trainer->word_slots = slots;
}

static void count_words(struct trainer *trainer, const char *line, struct text *cleaned) {
  text_clean(line, strlen(line), cleaned);
  const char *at = cleaned->data;
  struct piece piece;
  while (tokenizer_next_piece(&at, cleaned->data + cleaned->length, &piece)) {
    if (piece.special != PIECE_WORD)
      continue;
    if (2 * trainer->word_count >= trainer->word_slots)
      grow_words(trainer);
    struct word *word = find_word(trainer->words, trainer->word_slots, trainer->bytes.data, piece.bytes, piece.length);
    if (word->count++ == 0) {
      trainer->word_count++;
      word->offset = trainer->bytes.length;
      word->length = piece.length;
      text_append(&trainer->bytes, piece.bytes, piece.length);
    }
  }
}

static const char *name_of(const struct trainer *trainer, int32_t symbol, size_t *length) {
  const size_t start = symbol ? trainer->name_ends[symbol - 1] : 0;
  *length = trainer->name_ends[symbol] - start;
  return trainer->names.data + start;
}

/* Where the symbol of this name stands in the table, or would. */
static int32_t *find_name(struct trainer *trainer, const char *name, size_t length) {
  size_t slot = hash_of(name, length) & (NAME_TABLE_SLOTS - 1);
  for (; trainer->name_table[slot] > 0; slot = (slot + 1) & (NAME_TABLE_SLOTS - 1)) {
    size_t other_length;
    const char *other = name_of(trainer, trainer->name_table[slot] - 1, &other_length);
    if (other_length == length && memcmp(other, name, length) == 0)
      break;
  }
  return &trainer->name_table[slot];
}

static void add_name(struct trainer *trainer, const char *name, size_t length) {
  int32_t *slot = find_name(trainer, name, length);
  text_append(&trainer->names, name, length);
  trainer->name_ends[trainer->symbol_count++] = trainer->names.length;
  *slot = trainer->symbol_count;
}

/* Words in a dense list, their bytes as symbols. */
static void start_symbols(struct trainer *trainer) {
  uint8_t order[256];
  int32_t id[256];
  tokenizer_byte_order(order);
  for (int end = 0; end < 2; end++)
    for (int i = 0; i < BYTE_SYMBOLS; i++) {
      utf8proc_uint8_t name[8];
      const size_t length = (size_t)utf8proc_encode_char(tokenizer_byte_code(order[i]), name);
      memcpy(name + length, "</w>", 4);
      add_name(trainer, (const char *)name, length + (end ? 4 : 0));
      id[order[i]] = i;
    }
  trainer->symbols = memory_allocate(trainer->bytes.length * sizeof *trainer->symbols, "vocabulary");
  for (size_t i = 0; i < trainer->bytes.length; i++)
    trainer->symbols[i] = id[(uint8_t)trainer->bytes.data[i]];
  size_t kept = 0;
  for (size_t i = 0; i < trainer->word_slots; i++)
    if (trainer->words[i].count > 0) {
      trainer->symbols[trainer->words[i].offset + trainer->words[i].length - 1] += BYTE_SYMBOLS;
      trainer->words[kept++] = trainer->words[i];
    }
}

static struct pair *find_pair(struct pair *table, size_t slots, int32_t left, int32_t right) {
  const int32_t key[2] = {left, right};
  size_t slot = hash_of(key, sizeof key) & (slots - 1);
  while (table[slot].words && !(table[slot].left == left && table[slot].right == right))
    slot = (slot + 1) & (slots - 1);
  return &table[slot];
}

static void grow_pairs(struct trainer *trainer) {
  const size_t slots = trainer->pair_slots ? trainer->pair_slots * 2 : 4096;
  struct pair *table = memory_allocate(slots * sizeof *table, "vocabulary");
  for (size_t i = 0; i < trainer->pair_slots; i++)
    if (trainer->pairs[i].words)
      *find_pair(table, slots, trainer->pairs[i].left, trainer->pairs[i].right) = trainer->pairs[i];
  memory_release(trainer->pairs);
  trainer->pairs = table;
  trainer->pair_slots = slots;
}

static void list_append(struct entry_list *list, struct entry entry) {
  if (list->count == list->capacity) {
    list->capacity = list->capacity ? 2 * list->capacity : 4096;
    list->entries = memory_resize(list->entries, list->capacity * sizeof *list->entries, "vocabulary");
  }
  list->entries[list->count++] = entry;
}

static bool goes_before(const struct entry *a, const struct entry *b) {
  if (a->count != b->count)
    return a->count > b->count;
  return a->left != b->left ? a->left < b->left : a->right < b->right;
}

static void swap_entries(struct entry *a, struct entry *b) {
  const struct entry held = *a;
  *a = *b;
  *b = held;
}

static void heap_push(struct entry_list *heap, struct entry entry) {
  list_append(heap, entry);
  struct entry *at = heap->entries;
  for (size_t i = heap->count - 1; i > 0 && goes_before(&at[i], &at[(i - 1) / 2]); i = (i - 1) / 2)
    swap_entries(&at[i], &at[(i - 1) / 2]);
}

static struct entry heap_pop(struct entry_list *heap) {
  struct entry *at = heap->entries;
  const struct entry top = at[0];
  at[0] = at[--heap->count];
  for (size_t i = 0, next; (next = 2 * i + 1) < heap->count; i = next) {
    if (next + 1 < heap->count && goes_before(&at[next + 1], &at[next]))
      next++;
    if (!goes_before(&at[next], &at[i]))
      break;
    swap_entries(&at[i], &at[next]);
  }
  return top;
}

/* A word came to hold the pair `count` times more; a negative count takes away. */
static void count_pair(struct trainer *trainer, int32_t left, int32_t right, int64_t count, int32_t word) {
  if (2 * trainer->pair_count >= trainer->pair_slots)
    grow_pairs(trainer);
  struct pair *pair = find_pair(trainer->pairs, trainer->pair_slots, left, right);
  if (!pair->words) {
    *pair = (struct pair){.left = left, .right = right, .word_capacity = 4};
    pair->words = memory_allocate(pair->word_capacity * sizeof *pair->words, "vocabulary");
    trainer->pair_count++;
  }
  pair->count += count;
  if (!pair->touched)
    list_append(&trainer->touched, (struct entry){.left = left, .right = right});
  pair->touched = true;
  if (count < 0 || (pair->word_count > 0 && pair->words[pair->word_count - 1] == word))
    return;
  if (pair->word_count == pair->word_capacity) {
    pair->word_capacity *= 2;
    pair->words = memory_resize(pair->words, pair->word_capacity * sizeof *pair->words, "vocabulary");
  }
  pair->words[pair->word_count++] = word;
}

static void count_pairs_of(struct trainer *trainer, int32_t index, int sign) {
  const struct word *word = &trainer->words[index];
  const int32_t *symbols = trainer->symbols + word->offset;
  for (size_t i = 0; i + 1 < word->length; i++)
    count_pair(trainer, symbols[i], symbols[i + 1], sign * word->count, index);
}

/* Gives an entry to every pair that was touched and has come to more than its entries say. */
static void queue_touched(struct trainer *trainer) {
  for (size_t i = 0; i < trainer->touched.count; i++) {
    const struct entry *entry = &trainer->touched.entries[i];
    struct pair *pair = find_pair(trainer->pairs, trainer->pair_slots, entry->left, entry->right);
    pair->touched = false;
    if (pair->count <= pair->queued)
      continue;
    pair->queued = pair->count;
    heap_push(&trainer->heap, (struct entry){pair->count, pair->left, pair->right});
  }
  trainer->touched.count = 0;
}

static struct pair *most_frequent(struct trainer *trainer) {
  queue_touched(trainer);
  while (trainer->heap.count > 0) {
    const struct entry top = heap_pop(&trainer->heap);
    struct pair *pair = find_pair(trainer->pairs, trainer->pair_slots, top.left, top.right);
    if (top.count != pair->queued) /* a greater entry was met before */
      continue;
    pair->queued = 0;
    if (pair->count <= 0)
      continue;
    if (pair->count == top.count)
      return pair;
    pair->queued = pair->count;
    heap_push(&trainer->heap, (struct entry){pair->count, pair->left, pair->right});
  }
  return NULL;
}

static void merge_in_word(struct trainer *trainer, int32_t index, const struct pair *pair, int32_t merged) {
  struct word *word = &trainer->words[index];
  int32_t *symbols = trainer->symbols + word->offset;
  size_t first = 0;
  while (first + 1 < word->length && !(symbols[first] == pair->left && symbols[first + 1] == pair->right))
    first++;
  if (first + 1 >= word->length)
    return;
  count_pairs_of(trainer, index, -1);
  size_t kept = 0;
  for (size_t i = 0; i < word->length; kept++) {
    const bool here = i + 1 < word->length && symbols[i] == pair->left && symbols[i + 1] == pair->right;
    symbols[kept] = here ? merged : symbols[i];
    i += here ? 2 : 1;
  }
  word->length = kept;
  count_pairs_of(trainer, index, 1);
}

/* One merge, written as a line. False when no pair is left. */
static bool merge_once(struct trainer *trainer, struct text *file) {
  struct pair *best = most_frequent(trainer);
  if (!best)
    return false;
  size_t lengths[2];
  const char *left = name_of(trainer, best->left, &lengths[0]), *right = name_of(trainer, best->right, &lengths[1]);
  struct text joined = {0};
  text_append(&joined, left, lengths[0]);
  text_append(&joined, right, lengths[1]);
  if (*find_name(trainer, joined.data, joined.length) > 0) { /* made of other parts before: the pair is passed over */
    best->count = INT64_MIN / 2;
    text_release(&joined);
    return true;
  }
  text_append(file, left, lengths[0]);
  text_append(file, " ", 1);
  text_append(file, right, lengths[1]);
  text_append(file, "\n", 1);
  const int32_t merged = trainer->symbol_count;
  add_name(trainer, joined.data, joined.length);
  text_release(&joined);
  const struct pair pair = *best; /* the table may move */
  int32_t *words = memory_allocate(pair.word_count * sizeof *words, "vocabulary");
  memcpy(words, pair.words, pair.word_count * sizeof *words);
  for (size_t i = 0; i < pair.word_count; i++)
    merge_in_word(trainer, words[i], &pair, merged);
  memory_release(words);
  return true;
}

static enum status write_gzip(const char *path, const struct text *file) {
  z_stream stream = {0};
  if (deflateInit2(&stream, Z_BEST_COMPRESSION, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY) != Z_OK)
    return error_set(STATUS_SYSTEM, "zlib does not start");
  const uLong bound = deflateBound(&stream, (uLong)file->length);
  uint8_t *packed = memory_allocate(bound, "vocabulary");
  stream.next_in = (Bytef *)file->data;
  stream.avail_in = (uInt)file->length;
  stream.next_out = packed;
  stream.avail_out = (uInt)bound;
  const int result = deflate(&stream, Z_FINISH);
  deflateEnd(&stream);
  const enum status status = result == Z_STREAM_END ? file_write_atomic(path, packed, stream.total_out)
                                                    : error_set(STATUS_SYSTEM, "zlib cannot pack the vocabulary");
  memory_release(packed);
  return status;
}

static void release(struct trainer *trainer) {
  for (size_t i = 0; i < trainer->pair_slots; i++)
    memory_release(trainer->pairs[i].words);
  memory_release(trainer->pairs);
  memory_release(trainer->heap.entries);
  memory_release(trainer->touched.entries);
  memory_release(trainer->words);
  memory_release(trainer->symbols);
  memory_release(trainer->name_ends);
  text_release(&trainer->bytes);
  text_release(&trainer->names);
  memory_release(trainer);
}

enum status vocabulary_train(const char *const *lines, int64_t count, int32_t size, const char *path) {
  if (size < FIRST_MERGE + 3 || size > SYMBOLS_MAX)
    return error_set(STATUS_INPUT, "a vocabulary has 515 to 49408 ids, not %" PRId32, size);
  struct trainer *trainer = memory_allocate(sizeof *trainer, "vocabulary");
  trainer->name_ends = memory_allocate((size_t)size * sizeof(size_t), "vocabulary");
  struct text cleaned = {0}, file = {0};
  grow_words(trainer);
  for (int64_t i = 0; i < count; i++)
    count_words(trainer, lines[i], &cleaned);
  start_symbols(trainer);
  grow_pairs(trainer);
  for (size_t i = 0; i < trainer->word_count; i++)
    count_pairs_of(trainer, (int32_t)i, 1);
  text_append_string(&file, "#version: 0.2\n");
  bool more = true;
  while (more && trainer->symbol_count < size - 2)
    more = merge_once(trainer, &file);
  file.length--; /* behind a last line break open_clip would see one more merge */
  enum status status = STATUS_OK;
  if (!more)
    status = error_set(STATUS_INPUT,
                       "the text has only enough different words for %" PRId32 " ids, not %" PRId32
                       "; give more text or ask for fewer",
                       trainer->symbol_count + 2, size);
  else
    status = write_gzip(path, &file);
  release(trainer);
  text_release(&cleaned);
  text_release(&file);
  return status;
}
