#include "io/pickle.h"
#include "base/memory.h"
#include "io/pickle_private.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Training checkpoints of the largest CLIP need about 300,000 opcodes and a few thousand tensors. An opcode makes one
 * node and one cell at most, so a pickle that is all there is of its file must have few. */
enum {
  OPCODES_MAX = 4 << 20,
  OPCODES_FREE = 1 << 18,
  BYTES_PER_OPCODE = 64,
  STACK_MAX = 1 << 20,
  MARKS_MAX = 1 << 12,
  TENSORS_MAX = 1 << 17,
  PROTOCOL_MAX = 5,
  STRING_MAX = 1 << 24,
  NAME_MAX_BYTES = 1000
};

/* ---- the machine */

enum status pickle_refuse(const struct pickle_machine *machine, const char *format, ...) {
  char words[512];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(words, sizeof words, format, arguments);
  va_end(arguments);
  return error_set(STATUS_INPUT, "%s (byte %u of the pickle)", words, machine->opcode_offset);
}

static enum status read_number(struct pickle_machine *machine, int bytes, uint64_t *value) {
  *value = 0;
  if (machine->end - machine->at < bytes)
    return pickle_refuse(machine, "the pickle ends in the middle");
  for (int i = 0; i < bytes; i++)
    *value |= (uint64_t)*machine->at++ << (8 * i);
  return STATUS_OK;
}

static enum status push(struct pickle_machine *machine, pickle_id id) {
  if (machine->stack_count == STACK_MAX)
    return pickle_refuse(machine, "the pickle needs a stack of more than %d", STACK_MAX);
  if (machine->stack_count == machine->stack_capacity) {
    machine->stack_capacity = machine->stack_capacity ? 2 * machine->stack_capacity : 64;
    machine->stack = memory_resize(machine->stack, machine->stack_capacity * sizeof *machine->stack, "pickle stack");
  }
  machine->stack[machine->stack_count++] = id;
  return STATUS_OK;
}

/* What lies below the newest mark is out of reach. */
static enum status pop(struct pickle_machine *machine, pickle_id *id) {
  const uint32_t floor = machine->mark_count > 0 ? machine->marks[machine->mark_count - 1] : 0;
  if (machine->stack_count <= floor)
    return pickle_refuse(machine, "the pickle takes more from its stack than there is");
  *id = machine->stack[--machine->stack_count];
  return STATUS_OK;
}

static enum status top(struct pickle_machine *machine, pickle_id *id) {
  TRY(pop(machine, id));
  machine->stack_count++;
  return STATUS_OK;
}

static enum status push_node(struct pickle_machine *machine, enum pickle_kind kind, pickle_id *id) {
  *id = pickle_add_node(machine, kind);
  return push(machine, *id);
}

static enum status push_integer(struct pickle_machine *machine, enum pickle_kind kind, int64_t value) {
  pickle_id id;
  TRY(push_node(machine, kind, &id));
  pickle_edit(machine, id)->integer = value;
  return STATUS_OK;
}

static enum status pop_mark(struct pickle_machine *machine, uint32_t *height) {
  if (machine->mark_count == 0)
    return pickle_refuse(machine, "the pickle asks for a mark that was never set");
  *height = machine->marks[--machine->mark_count];
  return STATUS_OK;
}

static enum status memo_put(struct pickle_machine *machine, uint64_t index) {
  pickle_id id;
  TRY(top(machine, &id));
  if (index > (uint64_t)machine->opcodes) /* writers number the memo in sequence */
    return pickle_refuse(machine, "memo number %llu is out of sequence", (unsigned long long)index);
  if (index >= machine->memo_capacity) {
    machine->memo_capacity = (uint32_t)(2 * index + 64);
    machine->memo = memory_resize(machine->memo, machine->memo_capacity * sizeof *machine->memo, "pickle memo");
  }
  machine->memo[index] = id;
  machine->memo_count++;
  return STATUS_OK;
}

static enum status memo_get(struct pickle_machine *machine, uint64_t index) {
  if (index >= machine->memo_capacity || machine->memo[index] == 0)
    return pickle_refuse(machine, "memo number %llu was never written", (unsigned long long)index);
  return push(machine, machine->memo[index]);
}

/* ---- opcodes; `detail` is the width of the argument in bytes, or the number of items (0: those above the mark) */

typedef enum status (*opcode_run)(struct pickle_machine *machine, int detail);

static enum status run_protocol(struct pickle_machine *machine, int detail) {
  uint64_t protocol;
  TRY(read_number(machine, detail, &protocol));
  return protocol <= PROTOCOL_MAX
             ? STATUS_OK
             : pickle_refuse(machine, "pickle protocol %llu is unknown", (unsigned long long)protocol);
}

static enum status run_frame(struct pickle_machine *machine, int detail) {
  uint64_t length;
  TRY(read_number(machine, detail, &length));
  return length <= (uint64_t)(machine->end - machine->at) ? STATUS_OK
                                                          : pickle_refuse(machine, "a frame reaches beyond the pickle");
}

static enum status run_mark(struct pickle_machine *machine, int detail) {
  (void)detail;
  if (machine->mark_count == MARKS_MAX)
    return pickle_refuse(machine, "the pickle is nested more than %d deep", MARKS_MAX);
  if (machine->mark_count == machine->mark_capacity) {
    machine->mark_capacity = machine->mark_capacity ? 2 * machine->mark_capacity : 16;
    machine->marks = memory_resize(machine->marks, machine->mark_capacity * sizeof *machine->marks, "pickle marks");
  }
  machine->marks[machine->mark_count++] = machine->stack_count;
  return STATUS_OK;
}

static enum status run_pop(struct pickle_machine *machine, int detail) {
  (void)detail;
  pickle_id id;
  return pop(machine, &id);
}

static enum status run_pop_mark(struct pickle_machine *machine, int detail) {
  (void)detail;
  return pop_mark(machine, &machine->stack_count);
}

static enum status run_none(struct pickle_machine *machine, int detail) {
  return push_integer(machine, PICKLE_NONE, detail);
}

static enum status run_bool(struct pickle_machine *machine, int detail) {
  return push_integer(machine, PICKLE_BOOL, detail);
}

/* BININT alone has a sign. */
static enum status run_integer(struct pickle_machine *machine, int detail) {
  uint64_t value;
  TRY(read_number(machine, detail, &value));
  return push_integer(machine, PICKLE_INTEGER, detail == 4 ? (int32_t)(uint32_t)value : (int64_t)value);
}

/* Two's complement of any length; what does not fit into 64 bits is no size of ours: kept as a real number. */
static enum status run_long(struct pickle_machine *machine, int detail) {
  uint64_t length, value = 0;
  TRY(read_number(machine, detail, &length));
  if (length > (uint64_t)(machine->end - machine->at))
    return pickle_refuse(machine, "a number reaches beyond the pickle");
  const uint8_t *bytes = machine->at;
  machine->at += length;
  if (length > 8) {
    pickle_id id;
    TRY(push_node(machine, PICKLE_REAL, &id));
    pickle_edit(machine, id)->real = INFINITY;
    return STATUS_OK;
  }
  for (uint64_t i = 0; i < length; i++)
    value |= (uint64_t)bytes[i] << (8 * i);
  if (length > 0 && length < 8 && bytes[length - 1] & 0x80)
    value |= ~(uint64_t)0 << (8 * length);
  return push_integer(machine, PICKLE_INTEGER, (int64_t)value);
}

static enum status run_real(struct pickle_machine *machine, int detail) {
  uint64_t bits = 0;
  pickle_id id;
  double value;
  if (machine->end - machine->at < detail)
    return pickle_refuse(machine, "the pickle ends in the middle");
  for (int i = 0; i < detail; i++) /* the one big-endian thing in a pickle */
    bits = bits << 8 | *machine->at++;
  memcpy(&value, &bits, sizeof value);
  TRY(push_node(machine, PICKLE_REAL, &id));
  pickle_edit(machine, id)->real = value;
  return STATUS_OK;
}

static enum status push_text(struct pickle_machine *machine, enum pickle_kind kind, int width) {
  uint64_t length;
  pickle_id id;
  TRY(read_number(machine, width, &length));
  if (length > (uint64_t)(machine->end - machine->at) || length > STRING_MAX)
    return pickle_refuse(machine, "a string reaches beyond the pickle or is longer than %d bytes", STRING_MAX);
  TRY(push_node(machine, kind, &id));
  struct pickle_node *node = pickle_edit(machine, id);
  node->text.at = (uint32_t)(machine->at - machine->out->bytes);
  node->text.length = (uint32_t)length;
  machine->at += length;
  return STATUS_OK;
}

static enum status run_string(struct pickle_machine *machine, int detail) {
  return push_text(machine, PICKLE_STRING, detail);
}

static enum status run_bytes(struct pickle_machine *machine, int detail) {
  return push_text(machine, PICKLE_BYTES, detail);
}

static enum status run_empty(struct pickle_machine *machine, int detail) {
  pickle_id id;
  return push_node(machine, (enum pickle_kind)detail, &id);
}

/* Everything above `height` becomes items of `container`. */
static void append_above(struct pickle_machine *machine, pickle_id container, uint32_t height) {
  for (uint32_t i = height; i < machine->stack_count; i++)
    pickle_append(machine, container, machine->stack[i]);
  machine->stack_count = height;
}

/* Where the last `count` values of the stack begin; 0: those above the newest mark, which is taken off. */
static enum status find_items(struct pickle_machine *machine, int count, uint32_t *height) {
  if (count == 0)
    return pop_mark(machine, height);
  const uint32_t floor = machine->mark_count > 0 ? machine->marks[machine->mark_count - 1] : 0;
  if (machine->stack_count < floor + (uint32_t)count)
    return pickle_refuse(machine, "the pickle takes more from its stack than there is");
  *height = machine->stack_count - (uint32_t)count;
  return STATUS_OK;
}

static enum status run_tuple(struct pickle_machine *machine, int detail) {
  uint32_t height;
  TRY(find_items(machine, detail, &height));
  const pickle_id id = pickle_add_node(machine, PICKLE_TUPLE);
  append_above(machine, id, height);
  return push(machine, id);
}

/* APPEND, APPENDS, SETITEM, SETITEMS. Onto an opaque object it goes nowhere. */
static enum status add_items(struct pickle_machine *machine, int detail, enum pickle_kind kind) {
  uint32_t height;
  TRY(find_items(machine, detail, &height));
  const uint32_t count = machine->stack_count - height, kept = height;
  pickle_id container;
  if (kind == PICKLE_DICT && count % 2)
    return pickle_refuse(machine, "a key without a value");
  machine->stack_count = height;
  TRY(top(machine, &container));
  machine->stack_count = kept + count;
  const enum pickle_kind found = pickle_node(machine->out, container)->kind;
  if (found == PICKLE_OPAQUE)
    machine->stack_count = height;
  else if (found == kind)
    append_above(machine, container, height);
  else
    return pickle_refuse(machine, "items are added to something that holds none");
  return STATUS_OK;
}

static enum status run_append(struct pickle_machine *machine, int detail) {
  return add_items(machine, detail, PICKLE_LIST);
}

static enum status run_set(struct pickle_machine *machine, int detail) {
  return add_items(machine, detail, PICKLE_DICT);
}

static enum status run_put(struct pickle_machine *machine, int detail) {
  uint64_t index = machine->memo_count;
  if (detail > 0)
    TRY(read_number(machine, detail, &index));
  return memo_put(machine, index);
}

static enum status run_get(struct pickle_machine *machine, int detail) {
  uint64_t index;
  TRY(read_number(machine, detail, &index));
  return memo_get(machine, index);
}

/* "module\nname\n". */
static enum status run_global(struct pickle_machine *machine, int detail) {
  const uint8_t *begin[2] = {NULL, NULL};
  size_t length[2] = {0, 0};
  for (int line = 0; line < detail; line++) {
    const uint8_t *end = memchr(machine->at, '\n', (size_t)(machine->end - machine->at));
    begin[line] = machine->at;
    if (end == NULL || end - machine->at > NAME_MAX_BYTES)
      return pickle_refuse(machine, "a name of more than %d bytes", NAME_MAX_BYTES);
    length[line] = (size_t)(end - machine->at);
    machine->at = end + 1;
  }
  return push(machine, pickle_make_global(machine, begin[0], length[0], begin[1], length[1]));
}

/* The same from two strings on the stack. */
static enum status run_stack_global(struct pickle_machine *machine, int detail) {
  pickle_id ids[2];
  const uint8_t *begin[2];
  size_t length[2];
  for (int i = detail - 1; i >= 0; i--) {
    TRY(pop(machine, &ids[i]));
    const struct pickle_node *node = pickle_node(machine->out, ids[i]);
    if (node->kind != PICKLE_STRING || node->text.length > NAME_MAX_BYTES)
      return pickle_refuse(machine, "a global is named by something that is no short string");
    begin[i] = machine->out->bytes + node->text.at;
    length[i] = node->text.length;
  }
  return push(machine, pickle_make_global(machine, begin[0], length[0], begin[1], length[1]));
}

static enum status run_reduce(struct pickle_machine *machine, int detail) {
  (void)detail;
  pickle_id arguments = 0, callable = 0, result = 0;
  TRY(pop(machine, &arguments));
  TRY(pop(machine, &callable));
  if (pickle_node(machine->out, arguments)->kind != PICKLE_TUPLE)
    return pickle_refuse(machine, "a call without a tuple of arguments");
  TRY(pickle_call(machine, callable, arguments, &result));
  if (machine->out->tensor_count > TENSORS_MAX)
    return pickle_refuse(machine, "the pickle holds more than %d tensors", TENSORS_MAX);
  return push(machine, result);
}

/* The state of a TorchScript object are its attributes; a dict's (its _metadata) and an opaque object's are dropped. */
static enum status run_build(struct pickle_machine *machine, int detail) {
  (void)detail;
  pickle_id state = 0, object = 0;
  TRY(pop(machine, &state));
  TRY(top(machine, &object));
  const struct pickle_node *from = pickle_node(machine->out, state);
  struct pickle_node *to = pickle_edit(machine, object);
  if (to->kind == PICKLE_RECORD && from->kind == PICKLE_DICT && to->items.count == 0)
    to->items = from->items;
  return STATUS_OK;
}

static enum status run_persistent(struct pickle_machine *machine, int detail) {
  (void)detail;
  pickle_id description = 0, result = 0;
  TRY(pop(machine, &description));
  TRY(pickle_make_storage(machine, description, &result));
  return push(machine, result);
}

static const struct {
  uint8_t code;
  const char *name;
  opcode_run run; /* NULL: refused by its name */
  int detail;
} opcodes[] = {
    {0x80, "PROTO", run_protocol, 1},
    {0x95, "FRAME", run_frame, 8},
    {'(', "MARK", run_mark, 0},
    {'0', "POP", run_pop, 0},
    {'1', "POP_MARK", run_pop_mark, 0},
    {'N', "NONE", run_none, 0},
    {0x88, "NEWTRUE", run_bool, 1},
    {0x89, "NEWFALSE", run_bool, 0},
    {'K', "BININT1", run_integer, 1},
    {'M', "BININT2", run_integer, 2},
    {'J', "BININT", run_integer, 4},
    {0x8a, "LONG1", run_long, 1},
    {0x8b, "LONG4", run_long, 4},
    {'G', "BINFLOAT", run_real, 8},
    {0x8c, "SHORT_BINUNICODE", run_string, 1},
    {'X', "BINUNICODE", run_string, 4},
    {0x8d, "BINUNICODE8", run_string, 8},
    {'U', "SHORT_BINSTRING", run_bytes, 1},
    {'T', "BINSTRING", run_bytes, 4},
    {'C', "SHORT_BINBYTES", run_bytes, 1},
    {'B', "BINBYTES", run_bytes, 4},
    {0x8e, "BINBYTES8", run_bytes, 8},
    {')', "EMPTY_TUPLE", run_empty, PICKLE_TUPLE},
    {']', "EMPTY_LIST", run_empty, PICKLE_LIST},
    {'}', "EMPTY_DICT", run_empty, PICKLE_DICT},
    {0x8f, "EMPTY_SET", run_empty, PICKLE_OPAQUE},
    {'t', "TUPLE", run_tuple, 0},
    {0x85, "TUPLE1", run_tuple, 1},
    {0x86, "TUPLE2", run_tuple, 2},
    {0x87, "TUPLE3", run_tuple, 3},
    {'a', "APPEND", run_append, 1},
    {'e', "APPENDS", run_append, 0},
    {0x90, "ADDITEMS", run_append, 0},
    {'s', "SETITEM", run_set, 2},
    {'u', "SETITEMS", run_set, 0},
    {'q', "BINPUT", run_put, 1},
    {'r', "LONG_BINPUT", run_put, 4},
    {0x94, "MEMOIZE", run_put, 0},
    {'h', "BINGET", run_get, 1},
    {'j', "LONG_BINGET", run_get, 4},
    {'c', "GLOBAL", run_global, 2},
    {0x93, "STACK_GLOBAL", run_stack_global, 2},
    {'R', "REDUCE", run_reduce, 0},
    {0x81, "NEWOBJ", run_reduce, 0},
    {'b', "BUILD", run_build, 0},
    {'Q', "BINPERSID", run_persistent, 0},
    {'.', "STOP", NULL, 0}, /* ends the loop before it is looked up */
    {'2', "DUP", NULL, 0},
    {'F', "FLOAT", NULL, 0},
    {'I', "INT", NULL, 0},
    {'L', "LONG", NULL, 0},
    {'P', "PERSID", NULL, 0},
    {'S', "STRING", NULL, 0},
    {'V', "UNICODE", NULL, 0},
    {'d', "DICT", NULL, 0},
    {'l', "LIST", NULL, 0},
    {'g', "GET", NULL, 0},
    {'p', "PUT", NULL, 0},
    {'i', "INST", NULL, 0},
    {'o', "OBJ", NULL, 0},
    {0x82, "EXT1", NULL, 0},
    {0x83, "EXT2", NULL, 0},
    {0x84, "EXT4", NULL, 0},
    {0x91, "FROZENSET", NULL, 0},
    {0x92, "NEWOBJ_EX", NULL, 0},
    {0x96, "BYTEARRAY8", NULL, 0},
    {0x97, "NEXT_BUFFER", NULL, 0},
    {0x98, "READONLY_BUFFER", NULL, 0},
};
enum { OPCODES = sizeof opcodes / sizeof *opcodes, STOP = '.' };

static enum status run_opcode(struct pickle_machine *machine, const uint8_t rows[256], uint8_t code) {
  const uint8_t row = rows[code];
  if (row == 0)
    return pickle_refuse(machine, "0x%02x is no opcode of a pickle", code);
  if (opcodes[row - 1].run == NULL)
    return pickle_refuse(machine, "the opcode %s is not among those that torch writes", opcodes[row - 1].name);
  return opcodes[row - 1].run(machine, opcodes[row - 1].detail);
}

static enum status run(struct pickle_machine *machine) {
  uint8_t rows[256] = {0};
  for (int i = 0; i < OPCODES; i++)
    rows[opcodes[i].code] = (uint8_t)(i + 1);
  for (; machine->at < machine->end; machine->opcodes++) {
    machine->opcode_offset = (uint32_t)(machine->at - machine->out->bytes);
    const uint8_t code = *machine->at++;
    if (machine->opcodes == machine->opcodes_max)
      return pickle_refuse(machine, "the pickle has more than %lld opcodes", (long long)machine->opcodes_max);
    if (code == STOP)
      return pop(machine, &machine->out->root);
    TRY(run_opcode(machine, rows, code));
  }
  return pickle_refuse(machine, "the pickle ends without its STOP");
}

static int64_t limit_opcodes(size_t file_bytes) {
  const size_t share = file_bytes / BYTES_PER_OPCODE;
  return share < OPCODES_FREE ? OPCODES_FREE : share > OPCODES_MAX ? OPCODES_MAX : (int64_t)share;
}

enum status pickle_read(const uint8_t *bytes, size_t size, size_t file_bytes, struct pickle *pickle) {
  *pickle = (struct pickle){.bytes = bytes, .size = size};
  struct pickle_machine machine = {
      .out = pickle, .at = bytes, .end = bytes + size, .opcodes_max = limit_opcodes(file_bytes)};
  if (size > UINT32_MAX)
    return error_set(STATUS_INPUT, "a pickle of %zu bytes is too large", size);
  pickle_add_node(&machine, PICKLE_NONE); /* number 0 means none */
  const enum status status = run(&machine);
  memory_release(machine.stack);
  memory_release(machine.memo);
  memory_release(machine.marks);
  if (status != STATUS_OK)
    pickle_release(pickle);
  return status;
}
