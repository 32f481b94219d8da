/* The work space of one head of attention, the same for every instruction set. */
#ifndef MEMCLIP_DEVICE_CPU_ATTENTION_H
#define MEMCLIP_DEVICE_CPU_ATTENTION_H
#include "device/device.h"

enum {
  ATTENTION_BLOCK = 6, /* query rows at a time: the rows of a tile */
  ATTENTION_ROWS =
      42 * 6 /* query rows of the backward whose probabilities are held at once; a multiple of twice the block */
};

/* Sizes in floats (words of tile.h); a size that depends on whether words are pairs is that of plain words, the larger
 * one. */
struct attention_layout {
  int64_t tokens; /* rounded up, so that a row of scores is a whole number of vectors of any width, pairs included */
  int64_t width;  /* head width rounded up likewise */
  int64_t rows;   /* query rows held at once in the backward */
};

static inline struct attention_layout attention_layout(const struct attention *call) {
  int64_t queries = (call->queries + ATTENTION_BLOCK - 1) / ATTENTION_BLOCK * ATTENTION_BLOCK;
  return (struct attention_layout){.tokens = (call->tokens + 31) / 32 * 32,
                                   .width = (call->head_width + 31) / 32 * 32,
                                   .rows = queries < ATTENTION_ROWS ? queries : ATTENTION_ROWS};
}

/* Floats of work space for one head: the forward's, or both directions'. */
static inline int64_t attention_forward_floats(const struct attention_layout *l) {
  return 2 * l->tokens * l->width + ATTENTION_BLOCK * (2 * l->tokens + 2 * l->width);
}
static inline int64_t attention_backward_floats(const struct attention_layout *l) {
  int64_t gradients = 2 * (l->tokens + ATTENTION_BLOCK) * l->width, rows = l->rows + 2 * ATTENTION_BLOCK;
  return 3 * l->tokens * l->width + gradients + rows * (4 * l->width + 2 * l->tokens) +
         ATTENTION_BLOCK * (3 * l->tokens + l->width);
}
#endif
