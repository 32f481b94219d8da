/* Byte-pair merging. Words are short as a rule, and sweeps are fastest then; long ones are merged by a heap, so that a
 * hostile caption costs no more than its length. */
#include "base/memory.h"
#include "data/tokenizer_private.h"

enum { SHORT_LENGTH = 256 };

uint64_t tokenizer_hash_pair(int32_t left, int32_t right) {
  uint64_t x = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9e3779b97f4a7c15u;
  return x ^ x >> 29;
}

/* The merge of two symbols, or -1. Ids rise with rank. */
static int32_t find_merge(const struct tokenizer *tokenizer, int32_t left, int32_t right) {
  for (uint64_t slot = tokenizer_hash_pair(left, right) & tokenizer->mask;; slot = (slot + 1) & tokenizer->mask) {
    const struct merge *merge = &tokenizer->merges[slot];
    if (merge->id == 0)
      return -1;
    if (merge->left == left && merge->right == right)
      return merge->id;
  }
}

/* Rank after rank, each a sweep over the word; ranks[i] is the merge of i and i + 1. */
size_t tokenizer_merge_by_sweeps(const struct tokenizer *tokenizer, struct merge_space *space, size_t length) {
  int32_t *ids = space->ids, *ranks = space->ranks;
  for (size_t i = 0; i + 1 < length; i++)
    ranks[i] = find_merge(tokenizer, ids[i], ids[i + 1]);
  while (length > 1) {
    int32_t best = INT32_MAX;
    for (size_t i = 0; i + 1 < length; i++)
      best = ranks[i] >= 0 && ranks[i] < best ? ranks[i] : best;
    if (best == INT32_MAX)
      break;
    size_t kept = 0;
    for (size_t i = 0; i < length; kept++) {
      const bool merged = i + 1 < length && ranks[i] == best;
      ids[kept] = merged ? best : ids[i];
      const bool touched = merged || (kept > 0 && ids[kept - 1] == best);
      i += merged ? 2 : 1;
      ranks[kept] = ranks[i - 1]; /* the pair of this symbol and the next, not yet merged */
      if (kept > 0 && touched)
        ranks[kept - 1] = find_merge(tokenizer, ids[kept - 1], ids[kept]);
    }
    length = kept;
  }
  return length;
}

void merge_space_reserve(struct merge_space *space, size_t length) {
  if (length <= space->capacity)
    return;
  space->capacity = length * 2;
  space->ids = memory_resize(space->ids, space->capacity * sizeof *space->ids, "tokenizer");
  space->ranks = memory_resize(space->ranks, space->capacity * sizeof *space->ranks, "tokenizer");
}

void merge_space_release(struct merge_space *space) {
  memory_release(space->ids);
  memory_release(space->ranks);
  memory_release(space->next);
  memory_release(space->previous);
  memory_release(space->heap);
  *space = (struct merge_space){0};
}

/* A heap of pairs, the lowest rank on top, then the leftmost: rank in the upper half, place in the lower. A pair that
 * no longer stands is found out when it comes up. */
struct heap {
  struct merge_space *space;
  size_t count;
};

static void push(struct heap *heap, int32_t rank, size_t place) {
  struct merge_space *space = heap->space;
  if (heap->count == space->heap_capacity) {
    space->heap_capacity = space->heap_capacity ? space->heap_capacity * 2 : 1024;
    space->heap = memory_resize(space->heap, space->heap_capacity * sizeof *space->heap, "tokenizer");
  }
  const uint64_t entry = (uint64_t)rank << 32 | place;
  size_t at = heap->count++;
  for (; at > 0 && space->heap[(at - 1) / 2] > entry; at = (at - 1) / 2)
    space->heap[at] = space->heap[(at - 1) / 2];
  space->heap[at] = entry;
}

static uint64_t pop(struct heap *heap) {
  uint64_t *entries = heap->space->heap;
  const uint64_t top = entries[0], last = entries[--heap->count];
  size_t at = 0;
  for (size_t child; (child = 2 * at + 1) < heap->count; at = child) {
    child += child + 1 < heap->count && entries[child + 1] < entries[child];
    if (entries[child] >= last)
      break;
    entries[at] = entries[child];
  }
  entries[at] = last;
  return top;
}

/* Notes the merge of `place` and the symbol behind it; length ends the list. */
static void consider(const struct tokenizer *tokenizer, struct heap *heap, size_t place, size_t length) {
  struct merge_space *space = heap->space;
  const size_t next = (size_t)space->next[place];
  const int32_t rank = next < length ? find_merge(tokenizer, space->ids[place], space->ids[next]) : -1;
  space->ranks[place] = rank;
  if (rank >= 0)
    push(heap, rank, place);
}

static void reserve_lists(struct merge_space *space, size_t length) {
  if (length <= space->long_capacity)
    return;
  space->long_capacity = length * 2;
  space->next = memory_resize(space->next, space->long_capacity * sizeof *space->next, "tokenizer");
  space->previous = memory_resize(space->previous, space->long_capacity * sizeof *space->previous, "tokenizer");
}

/* Symbols are a list, next and previous; one that was merged into its left neighbour has rank -2. A merge's id is above
 * those of its parts, so a pair that a merge makes never comes before the other places of that merge. */
size_t tokenizer_merge_by_heap(const struct tokenizer *tokenizer, struct merge_space *space, size_t length) {
  struct heap heap = {.space = space};
  reserve_lists(space, length);
  for (size_t i = 0; i < length; i++) {
    space->next[i] = (int32_t)i + 1;
    space->previous[i] = (int32_t)i - 1;
  }
  for (size_t i = 0; i < length; i++)
    consider(tokenizer, &heap, i, length);
  while (heap.count > 0) {
    const uint64_t entry = pop(&heap);
    const size_t place = entry & UINT32_MAX, next = (size_t)space->next[place];
    if (space->ranks[place] != (int32_t)(entry >> 32))
      continue;
    space->ids[place] = space->ranks[place];
    space->ranks[next] = -2;
    space->next[place] = space->next[next];
    if ((size_t)space->next[place] < length)
      space->previous[space->next[place]] = (int32_t)place;
    consider(tokenizer, &heap, place, length);
    if (space->previous[place] >= 0)
      consider(tokenizer, &heap, (size_t)space->previous[place], length);
  }
  size_t kept = 0;
  for (size_t i = 0; i < length; i = (size_t)space->next[i])
    space->ids[kept++] = space->ids[i];
  return kept;
}

size_t tokenizer_merge(const struct tokenizer *tokenizer, struct merge_space *space, size_t length) {
  return length <= SHORT_LENGTH || length > INT32_MAX / 2 ? tokenizer_merge_by_sweeps(tokenizer, space, length)
                                                          : tokenizer_merge_by_heap(tokenizer, space, length);
}
