/* Private to the pickle reader: the machine that runs the opcodes (pickle.c), the nodes it makes (pickle_node.c), and
 * what the names it knows make (pickle_global.c). */
#ifndef MEMCLIP_IO_PICKLE_PRIVATE_H
#define MEMCLIP_IO_PICKLE_PRIVATE_H
#include "io/pickle.h"

struct pickle_machine {
  struct pickle *out;
  const uint8_t *at, *end;
  int64_t opcodes, opcodes_max;
  uint32_t opcode_offset;
  pickle_id *stack, *memo;
  uint32_t *marks; /* heights of the stack */
  uint32_t stack_count, stack_capacity, memo_count, memo_capacity, mark_count, mark_capacity;
  uint32_t node_capacity, cell_capacity, tensor_capacity;
};

pickle_id pickle_add_node(struct pickle_machine *machine, enum pickle_kind kind);
struct pickle_node *pickle_edit(struct pickle_machine *machine, pickle_id id);
void pickle_append(struct pickle_machine *machine, pickle_id container, pickle_id value);
/* Items of a TUPLE or LIST into `items`; false when there are not from `least` to `most` of them. */
bool pickle_take_items(const struct pickle *pickle, pickle_id id, uint32_t least, uint32_t most, pickle_id *items);
/* A GLOBAL: one of the known names, or an unknown one, which is allowed until somebody wants what it made. */
pickle_id pickle_make_global(struct pickle_machine *machine, const uint8_t *module, size_t module_length,
                             const uint8_t *name, size_t name_length);
/* What calling `callable` with `arguments` makes (REDUCE), or constructing it (NEWOBJ). */
enum status pickle_call(struct pickle_machine *machine, pickle_id callable, pickle_id arguments, pickle_id *result);
/* The storage that a persistent id names. */
enum status pickle_make_storage(struct pickle_machine *machine, pickle_id description, pickle_id *result);
/* "... at byte N of the pickle". */
enum status pickle_refuse(const struct pickle_machine *machine, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
#endif
