/* Between the files of the emulation. */
#ifndef MEMCLIP_TESTS_EMULATION_PRIVATE_H
#define MEMCLIP_TESTS_EMULATION_PRIVATE_H
#include <stddef.h>
#include <vector>

struct emulation_block {
  char *pages;
  size_t page_bytes; /* without the guard page */
  char *data;
  size_t bytes;
};
std::vector<struct emulation_block> &emulation_blocks(void);

/* A stack that runs `entry` until it yields. */
struct fiber {
  void *stack_pointer;
  char *stack;
  void *sanitizer_stack;
};
void fiber_prepare(struct fiber *fiber, void (*entry)(void)); /* entry never returns */
void fiber_switch(struct fiber *from, struct fiber *to);
void fiber_started(void); /* first thing that an entry calls */

void emulation_expect_pinned(const void *block, size_t bytes); /* else fatal */
void emulation_close_ranges(void);                             /* fatal when one has not ended */
#endif
