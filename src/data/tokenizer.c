/* Vocabulary and encoding. A symbol is an id; merging looks pairs of ids up in a hash table; words already met are
 * taken from the scratch's cache. */
#include "data/tokenizer.h"
#include "base/file.h"
#include "base/memory.h"
#include "data/tokenizer_private.h"
#include "data/text_clean.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>
#include <zlib.h>

enum { OFFICIAL_MERGES = 48894, BYTE_SYMBOLS = 256, VOCABULARY_BYTES_MAX = 8 << 20 };
static const char official_name[] = "bpe_simple_vocab_16e6.txt.gz";
static const char start_text[] = "<start_of_text>", end_text[] = "<end_of_text>";

/* The printable bytes come first, in their order; then the others. */
void tokenizer_byte_order(uint8_t order[256]) {
  int count = 0;
  for (int pass = 0; pass < 2; pass++)
    for (int byte = 0; byte < 256; byte++) {
      const bool printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
      if (printable == (pass == 0))
        order[count++] = (uint8_t)byte;
    }
}

int32_t tokenizer_byte_code(uint8_t byte) {
  uint8_t order[256];
  tokenizer_byte_order(order);
  int id = 0;
  while (order[id] != byte)
    id++;
  return id < 188 ? byte : 0x100 + id - 188;
}

static uint64_t hash_bytes(const char *bytes, size_t length) {
  uint64_t x = 1469598103934665603u;
  for (size_t i = 0; i < length; i++)
    x = (x ^ (uint8_t)bytes[i]) * 1099511628211u;
  return x ^ x >> 31;
}

static int32_t find_symbol(const struct tokenizer *tokenizer, const char *name, size_t length) {
  for (uint64_t slot = hash_bytes(name, length) & tokenizer->mask;; slot = (slot + 1) & tokenizer->mask) {
    const int32_t id = tokenizer->names[slot] - 1;
    if (id < 0)
      return -1;
    const struct symbol *symbol = &tokenizer->symbols[id];
    if (symbol->length == length && memcmp(tokenizer->strings.data + symbol->offset, name, length) == 0)
      return id;
  }
}

/* A later symbol of the same name takes the place of the earlier. */
static void add_symbol(struct tokenizer *tokenizer, const char *name, size_t length) {
  const int32_t id = tokenizer->count++, old = find_symbol(tokenizer, name, length);
  tokenizer->symbols[id] = (struct symbol){tokenizer->strings.length, length};
  text_append(&tokenizer->strings, name, length);
  uint64_t slot = hash_bytes(name, length) & tokenizer->mask;
  while (tokenizer->names[slot] != 0 && tokenizer->names[slot] != old + 1)
    slot = (slot + 1) & tokenizer->mask;
  tokenizer->names[slot] = id + 1;
}

static void add_bytes(struct tokenizer *tokenizer) {
  uint8_t order[256];
  tokenizer_byte_order(order);
  for (int end = 0; end < 2; end++)
    for (int i = 0; i < BYTE_SYMBOLS; i++) {
      char name[16];
      size_t length = (size_t)utf8proc_encode_char(tokenizer_byte_code(order[i]), (utf8proc_uint8_t *)name);
      tokenizer->byte_id[order[i]] = i;
      if (end) {
        memcpy(name + length, "</w>", 4);
        length += 4;
      }
      add_symbol(tokenizer, name, length);
    }
}

static enum status add_merge(struct tokenizer *tokenizer, const char *line, size_t length, int number) {
  const char *space = memchr(line, ' ', length);
  const size_t first = space ? (size_t)(space - line) : length, second = space ? length - first - 1 : 0;
  const int32_t left = find_symbol(tokenizer, line, first),
                right = space ? find_symbol(tokenizer, space + 1, second) : -1;
  if (left < 0 || right < 0)
    return error_set(STATUS_INPUT,
                     "line %d is not a merge of two symbols known before it; is this a vocabulary in CLIP's format?",
                     number);
  struct text joined = {0};
  text_append(&joined, line, first);
  text_append(&joined, space + 1, second);
  uint64_t slot = tokenizer_hash_pair(left, right) & tokenizer->mask;
  while (tokenizer->merges[slot].id != 0)
    slot = (slot + 1) & tokenizer->mask;
  tokenizer->merges[slot] = (struct merge){left, right, tokenizer->count};
  add_symbol(tokenizer, joined.data, joined.length);
  text_release(&joined);
  return STATUS_OK;
}

/* gzip or plain. */
static enum status read_all(const char *path, struct text *content) {
  gzFile file = gzopen(path, "rb");
  if (!file)
    return error_set(STATUS_INPUT, "cannot open the vocabulary '%s': %s", path, strerror(errno));
  char block[65536];
  int count;
  while ((count = gzread(file, block, sizeof block)) > 0 && content->length <= VOCABULARY_BYTES_MAX)
    text_append(content, block, (size_t)count);
  const int ended = gzclose_r(file);
  if (content->length > VOCABULARY_BYTES_MAX)
    return error_set(STATUS_INPUT, "the vocabulary '%s' has more than %d bytes of text: OpenAI's has 3.2 million", path,
                     VOCABULARY_BYTES_MAX);
  if (count < 0 || ended == Z_BUF_ERROR)
    return error_set(STATUS_INPUT, "the vocabulary '%s' is truncated or damaged", path);
  return STATUS_OK;
}

static enum status parse(struct tokenizer *tokenizer, const struct text *content) {
  if (content->length == 0 || !memchr(content->data, '\n', content->length))
    return error_set(STATUS_INPUT, "there is no line of merges");
  const char *end = content->data + content->length, *line = memchr(content->data, '\n', content->length);
  size_t lines = 0;
  for (const char *at = line; at && lines < OFFICIAL_MERGES; at = memchr(at + 1, '\n', (size_t)(end - at - 1)))
    lines++;
  uint64_t slots = 1024;
  while (slots < 2 * (lines + 2 * BYTE_SYMBOLS + 2))
    slots *= 2;
  tokenizer->mask = slots - 1;
  tokenizer->merges = memory_allocate(slots * sizeof *tokenizer->merges, "vocabulary");
  tokenizer->names = memory_allocate(slots * sizeof *tokenizer->names, "vocabulary");
  tokenizer->symbols = memory_allocate((lines + 2 * BYTE_SYMBOLS + 2) * sizeof *tokenizer->symbols, "vocabulary");
  add_bytes(tokenizer);
  int number = 2;
  for (line++; line <= end && tokenizer->count < 2 * BYTE_SYMBOLS + OFFICIAL_MERGES; number++) {
    const char *stop = line < end ? memchr(line, '\n', (size_t)(end - line)) : NULL;
    stop = stop ? stop : end;
    if (stop > line)
      TRY(add_merge(tokenizer, line, (size_t)(stop - line), number));
    else /* open_clip gives an empty line an id, also the one behind the last line break */
      tokenizer->symbols[tokenizer->count++] = (struct symbol){0};
    line = stop + 1;
  }
  add_symbol(tokenizer, start_text, sizeof start_text - 1);
  add_symbol(tokenizer, end_text, sizeof end_text - 1);
  return STATUS_OK;
}

static char *find_path(const char *path) {
  const char *directories[] = {getenv("MEMCLIP_DATA"), MEMCLIP_DATADIR};
  if (strcmp(path, "clip") != 0)
    return memory_copy_string(path, "path");
  for (size_t i = 0; i < sizeof directories / sizeof *directories; i++) {
    char *candidate = directories[i] ? text_join_path(directories[i], official_name) : NULL;
    if (candidate && file_exists(candidate))
      return candidate;
    memory_release(candidate);
  }
  return NULL;
}

enum status tokenizer_open(const char *path, struct tokenizer **result) {
  char *found = find_path(path);
  if (!found)
    return error_set(STATUS_INPUT,
                     "the vocabulary '%s' is neither in $MEMCLIP_DATA nor in %s; open_clip ships it as open_clip/%s "
                     "(sha256 924691ac...6804a): copy it there, or name "
                     "the file in data.vocabulary",
                     official_name, MEMCLIP_DATADIR, official_name);
  struct text content = {0};
  struct tokenizer *tokenizer = memory_allocate(sizeof *tokenizer, "tokenizer");
  enum status status = read_all(found, &content);
  if (status == STATUS_OK) {
    status = parse(tokenizer, &content);
    if (status != STATUS_OK)
      error_context(status, "vocabulary '%s'", found);
  }
  text_release(&content);
  memory_release(found);
  *result = tokenizer;
  if (status != STATUS_OK) {
    tokenizer_close(tokenizer);
    *result = NULL;
  }
  return status;
}

void tokenizer_close(struct tokenizer *tokenizer) {
  if (!tokenizer)
    return;
  memory_release(tokenizer->merges);
  memory_release(tokenizer->names);
  memory_release(tokenizer->symbols);
  text_release(&tokenizer->strings);
  memory_release(tokenizer);
}

int32_t tokenizer_vocabulary_size(const struct tokenizer *tokenizer) {
  return tokenizer->count;
}

int32_t tokenizer_end_id(const struct tokenizer *tokenizer) {
  return tokenizer->count - 1;
}

struct cached { /* a word and its ids in the arenas */
  uint64_t hash;
  uint32_t offset, length, first_id, id_count;
};
enum { CACHE_SLOTS = 1 << 15, CACHE_WORDS = CACHE_SLOTS / 2, CACHE_WORD_BYTES = 32 };

struct tokenizer_scratch {
  const struct tokenizer *owner; /* of the cache */
  struct text cleaned, words;
  struct cached *cache; /* [CACHE_SLOTS] */
  size_t cached;
  int32_t *cached_ids;
  size_t cached_id_count, cached_id_capacity;
  struct merge_space space;
};

struct tokenizer_scratch *tokenizer_scratch_new(void) {
  struct tokenizer_scratch *scratch = memory_allocate(sizeof *scratch, "tokenizer");
  scratch->cache = memory_allocate(CACHE_SLOTS * sizeof *scratch->cache, "tokenizer");
  return scratch;
}

void tokenizer_scratch_release(struct tokenizer_scratch *scratch) {
  if (!scratch)
    return;
  text_release(&scratch->cleaned);
  text_release(&scratch->words);
  memory_release(scratch->cache);
  memory_release(scratch->cached_ids);
  merge_space_release(&scratch->space);
  memory_release(scratch);
}

static void clear_cache(struct tokenizer_scratch *scratch) {
  memset(scratch->cache, 0, CACHE_SLOTS * sizeof *scratch->cache);
  text_clear(&scratch->words);
  scratch->cached = scratch->cached_id_count = 0;
}

/* The ids are left in scratch->space.ids. */
static size_t encode_word(const struct tokenizer *tokenizer, struct tokenizer_scratch *scratch, const char *word,
                          size_t length) {
  merge_space_reserve(&scratch->space, length);
  int32_t *ids = scratch->space.ids;
  for (size_t i = 0; i < length; i++)
    ids[i] = tokenizer->byte_id[(uint8_t)word[i]] + (i + 1 == length ? BYTE_SYMBOLS : 0);
  return tokenizer_merge(tokenizer, &scratch->space, length);
}

static void remember(struct tokenizer_scratch *scratch, struct cached *entry, uint64_t hash, const char *word,
                     size_t length, size_t count) {
  if (scratch->cached_id_count + count > scratch->cached_id_capacity) {
    scratch->cached_id_capacity = (scratch->cached_id_count + count) * 2;
    scratch->cached_ids =
        memory_resize(scratch->cached_ids, scratch->cached_id_capacity * sizeof *scratch->cached_ids, "tokenizer");
  }
  *entry = (struct cached){hash, (uint32_t)scratch->words.length, (uint32_t)length, (uint32_t)scratch->cached_id_count,
                           (uint32_t)count};
  text_append(&scratch->words, word, length);
  memcpy(scratch->cached_ids + scratch->cached_id_count, scratch->space.ids, count * sizeof *scratch->space.ids);
  scratch->cached_id_count += count;
  scratch->cached++;
}

/* The ids of a word: valid until the next call. */
static const int32_t *word_ids(const struct tokenizer *tokenizer, struct tokenizer_scratch *scratch, const char *word,
                               size_t length, size_t *count) {
  if (length > CACHE_WORD_BYTES) {
    *count = encode_word(tokenizer, scratch, word, length);
    return scratch->space.ids;
  }
  if (scratch->cached == CACHE_WORDS)
    clear_cache(scratch);
  const uint64_t hash = hash_bytes(word, length);
  struct cached *entry = &scratch->cache[hash % CACHE_SLOTS];
  while (entry->length > 0 && !(entry->hash == hash && entry->length == length &&
                                memcmp(scratch->words.data + entry->offset, word, length) == 0))
    entry = entry + 1 == scratch->cache + CACHE_SLOTS ? scratch->cache : entry + 1;
  if (entry->length == 0)
    remember(scratch, entry, hash, word, length, encode_word(tokenizer, scratch, word, length));
  *count = entry->id_count;
  return scratch->cached_ids + entry->first_id;
}

/* Plain ASCII without entities needs no repair: lower case and single spaces. False when the text is not of that kind.
 */
static bool clean_ascii(const char *text, size_t length, struct text *out) {
  for (size_t i = 0; i < length; i++) {
    const uint8_t byte = (uint8_t)text[i];
    if (!((byte >= 0x20 && byte <= 0x7e && byte != '&') || byte == '\t' || byte == '\n' || byte == '\r'))
      return false;
  }
  text_clear(out);
  text_append(out, text, length);
  size_t kept = 0;
  for (size_t i = 0; i < length; i++) {
    const char byte = text[i];
    if (byte > ' ')
      out->data[kept++] = (char)(byte >= 'A' && byte <= 'Z' ? byte + 32 : byte);
    else if (kept > 0 && out->data[kept - 1] != ' ')
      out->data[kept++] = ' ';
  }
  out->length = kept;
  out->data[kept] = '\0';
  return true;
}

int64_t tokenizer_encode(const struct tokenizer *tokenizer, struct tokenizer_scratch *scratch, const char *text,
                         int context_length, int32_t *ids, int32_t *end) {
  if (scratch->owner != tokenizer) {
    clear_cache(scratch);
    scratch->owner = tokenizer;
  }
  const size_t length = strlen(text);
  if (!clean_ascii(text, length, &scratch->cleaned))
    text_clean(text, length, &scratch->cleaned);
  const int32_t end_id = tokenizer_end_id(tokenizer);
  int64_t total = 1;
  memset(ids, 0, (size_t)context_length * sizeof *ids);
  ids[0] = end_id - 1;
  const char *at = scratch->cleaned.data, *stop = at + scratch->cleaned.length;
  struct piece piece;
  while (tokenizer_next_piece(&at, stop, &piece)) {
    size_t count = 1;
    const int32_t special = end_id - (piece.special == PIECE_START);
    const int32_t *found =
        piece.special != PIECE_WORD ? &special : word_ids(tokenizer, scratch, piece.bytes, piece.length, &count);
    for (size_t i = 0; i < count; i++, total++)
      if (total < context_length)
        ids[total] = found[i];
  }
  ids[total < context_length ? total : context_length - 1] = end_id;
  *end = 0;
  while (ids[*end] != end_id)
    ++*end;
  return total + 1;
}

/* Symbols back to bytes; the end of a word becomes a space; what is not UTF-8 becomes U+FFFD. */
void tokenizer_decode(const struct tokenizer *tokenizer, const int32_t *ids, int64_t count, struct text *out) {
  struct text bytes = {0};
  uint8_t order[256];
  tokenizer_byte_order(order);
  for (int64_t i = 0; i < count; i++) {
    if (ids[i] < 0 || ids[i] >= tokenizer->count)
      continue;
    const struct symbol *symbol = &tokenizer->symbols[ids[i]];
    struct codes name = {0};
    codes_append_utf8(&name, tokenizer->strings.data + symbol->offset, symbol->length);
    const bool ends =
        name.length > 4 && memcmp(tokenizer->strings.data + symbol->offset + symbol->length - 4, "</w>", 4) == 0;
    for (size_t k = 0; k < name.length - (ends ? 4 : 0); k++) {
      const int32_t code = name.data[k];
      text_append(&bytes, &(char){(char)(code < 0x100 ? code : order[188 + code - 0x100])}, 1);
    }
    if (ends)
      text_append(&bytes, " ", 1);
    codes_release(&name);
  }
  struct codes decoded = {0};
  codes_append_utf8(&decoded, bytes.data, bytes.length);
  codes_write_utf8(&decoded, out);
  codes_release(&decoded);
  text_release(&bytes);
}
