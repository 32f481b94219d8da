/* What the files of tokenizer.h share. */
#ifndef MEMCLIP_DATA_TOKENIZER_PRIVATE_H
#define MEMCLIP_DATA_TOKENIZER_PRIVATE_H
#include "data/tokenizer.h"
#include <stdbool.h>
#include <stddef.h>

struct merge { /* id 0: an empty slot; no merge has that id */
  int32_t left, right, id;
};
struct symbol {
  size_t offset, length; /* of its name in strings */
};
struct tokenizer {
  struct merge *merges; /* hash table by pair, mask + 1 slots */
  int32_t *names;       /* hash table by name: id + 1 */
  uint64_t mask;
  struct symbol *symbols; /* [count] */
  int32_t count;
  struct text strings;
  int32_t byte_id[256];
};

/* Bytes in the order of their ids. */
void tokenizer_byte_order(uint8_t order[256]);
/* The code point that writes a byte in a vocabulary file. */
int32_t tokenizer_byte_code(uint8_t byte);

uint64_t tokenizer_hash_pair(int32_t left, int32_t right);

struct merge_space { /* of one thread; ids[capacity]: symbols in, merged symbols out */
  int32_t *ids, *ranks, *next, *previous;
  uint64_t *heap;
  size_t capacity, long_capacity, heap_capacity;
};
void merge_space_reserve(struct merge_space *space, size_t length);
void merge_space_release(struct merge_space *space);
/* Merges space->ids[0 .. length - 1]: the lowest rank first, all its places from left to right. Returns how many
 * symbols are left. The time grows with length log length: long words are merged by the heap. */
size_t tokenizer_merge(const struct tokenizer *tokenizer, struct merge_space *space, size_t length);
/* The two ways, which give the same. */
size_t tokenizer_merge_by_sweeps(const struct tokenizer *tokenizer, struct merge_space *space, size_t length);
size_t tokenizer_merge_by_heap(const struct tokenizer *tokenizer, struct merge_space *space, size_t length);

enum piece_kind { PIECE_WORD, PIECE_START, PIECE_END };
struct piece {
  const char *bytes;
  size_t length;
  enum piece_kind special;
};
/* The next piece of cleaned text from *at on; false at its end. */
bool tokenizer_next_piece(const char **at, const char *stop, struct piece *piece);
#endif
