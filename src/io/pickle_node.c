/* What a pickle holds: nodes, and lists of cells of those that hold others. Built by the machine, read by everybody. */
#include "base/memory.h"
#include "io/pickle.h"
#include "io/pickle_private.h"
#include <string.h>

const struct pickle_node *pickle_node(const struct pickle *pickle, pickle_id id) {
  return &pickle->nodes[id];
}

struct pickle_node *pickle_edit(struct pickle_machine *machine, pickle_id id) {
  return &machine->out->nodes[id];
}

pickle_id pickle_add_node(struct pickle_machine *machine, enum pickle_kind kind) {
  struct pickle *out = machine->out;
  if (out->node_count == machine->node_capacity) {
    machine->node_capacity = machine->node_capacity ? 2 * machine->node_capacity : 64;
    out->nodes = memory_resize(out->nodes, machine->node_capacity * sizeof *out->nodes, "pickle nodes");
  }
  out->nodes[out->node_count] = (struct pickle_node){.kind = (uint8_t)kind, .offset = machine->opcode_offset};
  return out->node_count++;
}

void pickle_append(struct pickle_machine *machine, pickle_id container, pickle_id value) {
  struct pickle *out = machine->out;
  if (out->cell_count == machine->cell_capacity) {
    machine->cell_capacity = machine->cell_capacity ? 2 * machine->cell_capacity : 64;
    out->cells = memory_resize(out->cells, machine->cell_capacity * sizeof *out->cells, "pickle cells");
  }
  const uint32_t cell = out->cell_count++;
  out->cells[cell] = (struct pickle_cell){.value = value};
  struct pickle_node *node = &out->nodes[container];
  if (node->items.count++ == 0)
    node->items.first = cell;
  else
    out->cells[node->items.last].next = cell;
  node->items.last = cell;
}

bool pickle_take_items(const struct pickle *pickle, pickle_id id, uint32_t least, uint32_t most, pickle_id *items) {
  const struct pickle_node *node = pickle_node(pickle, id);
  if ((node->kind != PICKLE_TUPLE && node->kind != PICKLE_LIST) || node->items.count < least ||
      node->items.count > most)
    return false;
  uint32_t cell = node->items.first;
  for (uint32_t i = 0; i < node->items.count; i++, cell = pickle->cells[cell].next)
    items[i] = pickle->cells[cell].value;
  return true;
}

const char *pickle_text(const struct pickle *pickle, const struct pickle_node *node, size_t *length) {
  *length = node->text.length;
  return (const char *)pickle->bytes + node->text.at;
}

pickle_id pickle_get(const struct pickle *pickle, pickle_id id, const char *key) {
  const struct pickle_node *node = pickle_node(pickle, id);
  pickle_id found = 0;
  if (node->kind != PICKLE_DICT && node->kind != PICKLE_RECORD)
    return 0;
  uint32_t cell = node->items.first;
  for (uint32_t i = 0; i + 1 < node->items.count; i += 2) {
    const struct pickle_node *name = pickle_node(pickle, pickle->cells[cell].value);
    const struct pickle_cell *value = &pickle->cells[pickle->cells[cell].next];
    if (name->kind == PICKLE_STRING && name->text.length == strlen(key) &&
        memcmp(pickle->bytes + name->text.at, key, strlen(key)) == 0)
      found = value->value;
    cell = value->next;
  }
  return found;
}

void pickle_release(struct pickle *pickle) {
  memory_release(pickle->nodes);
  memory_release(pickle->cells);
  memory_release(pickle->tensors);
  *pickle = (struct pickle){0};
}
