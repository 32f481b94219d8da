/* Fibers: stacks that are switched between. A launch switches millions of times, so x86-64 has its own switch;
 * elsewhere it is ucontext's, ten times slower. */
#include "emulation/private.h"
#include "emulation/emulation.h"
#include <stdlib.h>
#include <sys/mman.h>
#if defined __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

enum { STACK_BYTES = 256 * 1024 };

#if defined __SANITIZE_ADDRESS__
static struct fiber *arriving_from;
static struct fiber main_stack; /* bounds of the stack that the launch was called on */
static size_t main_stack_bytes;

static void leave(struct fiber *from, struct fiber *to) {
  arriving_from = from;
  const void *bottom = to->stack ? to->stack : main_stack.stack;
  __sanitizer_start_switch_fiber(&from->sanitizer_stack, bottom, to->stack ? (size_t)STACK_BYTES : main_stack_bytes);
}
static void arrive(struct fiber *at) {
  const void *bottom;
  size_t bytes;
  __sanitizer_finish_switch_fiber(at ? at->sanitizer_stack : NULL, &bottom, &bytes);
  if (arriving_from && !arriving_from->stack) {
    main_stack.stack = (char *)bottom;
    main_stack_bytes = bytes;
  }
}
#else
static void leave(struct fiber *, struct fiber *) {
}
static void arrive(struct fiber *) {
}
#endif

void fiber_started(void) {
  arrive(NULL);
}

static void give_stack(struct fiber *fiber) {
  if (!fiber->stack)
    fiber->stack = (char *)mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  fiber->sanitizer_stack = NULL;
}

#if defined __x86_64__
extern "C" void emulation_switch(void **save, void *load);
__asm__(".text\n"
        ".globl emulation_switch\n"
        ".hidden emulation_switch\n"
        ".type emulation_switch, @function\n"
        "emulation_switch:\n"
        "  pushq %rbp\n"
        "  pushq %rbx\n"
        "  pushq %r12\n"
        "  pushq %r13\n"
        "  pushq %r14\n"
        "  pushq %r15\n"
        "  movq %rsp, (%rdi)\n"
        "  movq %rsi, %rsp\n"
        "  popq %r15\n"
        "  popq %r14\n"
        "  popq %r13\n"
        "  popq %r12\n"
        "  popq %rbx\n"
        "  popq %rbp\n"
        "  ret\n"
        ".size emulation_switch, .-emulation_switch\n");

/* Six registers, the entry as return address, and a place that keeps the stack aligned as after a call. */
void fiber_prepare(struct fiber *fiber, void (*entry)(void)) {
  give_stack(fiber);
  void **top = (void **)(fiber->stack + STACK_BYTES) - 8;
  memset(top, 0, 8 * sizeof *top);
  top[6] = (void *)entry;
  fiber->stack_pointer = top;
}

void fiber_switch(struct fiber *from, struct fiber *to) {
  leave(from, to);
  emulation_switch(&from->stack_pointer, to->stack_pointer);
  arrive(from);
}
#else
#include <ucontext.h>

void fiber_prepare(struct fiber *fiber, void (*entry)(void)) {
  give_stack(fiber);
  if (!fiber->stack_pointer)
    fiber->stack_pointer = malloc(sizeof(ucontext_t));
  ucontext_t *context = (ucontext_t *)fiber->stack_pointer;
  getcontext(context);
  context->uc_stack.ss_sp = fiber->stack;
  context->uc_stack.ss_size = STACK_BYTES;
  context->uc_link = NULL;
  makecontext(context, entry, 0);
}

void fiber_switch(struct fiber *from, struct fiber *to) {
  if (!from->stack_pointer)
    from->stack_pointer = malloc(sizeof(ucontext_t));
  leave(from, to);
  swapcontext((ucontext_t *)from->stack_pointer, (ucontext_t *)to->stack_pointer);
  arrive(from);
}
#endif
