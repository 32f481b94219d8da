/* Device memory of the emulation: each block in pages of its own, its end at a guard page, closed while no launch or
 * copy runs, so that a host that reads device memory faults. */
#include "cuda/cuda.h"
#include "emulation/emulation.h"
#include "emulation/private.h"
#include <sys/mman.h>
#include <stdlib.h>
#include <unistd.h>
#include <vector>

static std::vector<struct emulation_block> blocks;
static int opened;

static size_t page_bytes(void) {
  return (size_t)sysconf(_SC_PAGESIZE);
}

std::vector<struct emulation_block> &emulation_blocks(void) {
  return blocks;
}

/* MPI that reaches devices' memory reads it at any time. */
static bool stays_open(void) {
  const char *reached = getenv("MEMCLIP_COMM_DEVICES");
  return reached && atoi(reached) != 0;
}

static void protect(const struct emulation_block *block, int protection) {
  if (stays_open())
    return;
  if (mprotect(block->pages, block->page_bytes, protection))
    fatal("emulation: mprotect failed");
}

/* 64-byte aligned, so up to 63 bytes lie between the end and the guard. */
void *emulation_allocate(size_t bytes, const char *label) {
  const size_t page = page_bytes(), rounded = (bytes + 63) / 64 * 64, pages = (rounded + page - 1) / page * page;
  void *start = mmap(NULL, pages + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (start == MAP_FAILED)
    fatal("out of memory: %zu bytes for %s", bytes, label);
  mprotect((char *)start + pages, page, PROT_NONE);
  struct emulation_block block = {(char *)start, pages, (char *)start + pages - rounded, rounded};
  memset(block.pages, 0xff, pages);
  if (!opened)
    protect(&block, PROT_NONE);
  blocks.push_back(block);
  return block.data;
}

void emulation_release(void *data) {
  if (!data)
    return;
  for (size_t i = 0; i < blocks.size(); i++)
    if (blocks[i].data == data) {
      munmap(blocks[i].pages, blocks[i].page_bytes + page_bytes());
      blocks.erase(blocks.begin() + (ptrdiff_t)i);
      return;
    }
  fatal("emulation: a block is released that was not allocated");
}

void emulation_open_memory(void) {
  if (opened++ == 0)
    for (const struct emulation_block &block : blocks)
      protect(&block, PROT_READ | PROT_WRITE);
}

void emulation_close_memory(void) {
  if (--opened == 0)
    for (const struct emulation_block &block : blocks)
      protect(&block, PROT_NONE);
}
