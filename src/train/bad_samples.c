#include "train/bad_samples.h"
#include "base/memory.h"
#include "base/text.h"
#include "comm/comm.h"
#include "report/report.h"
#include <string.h>

/* Triples of texts, each with its NUL. */
static struct text notes;

static void append(const char *text) {
  text_append(&notes, text, strlen(text) + 1);
}

void bad_samples_note(const char *key, const char *location, const char *reason) {
  append(key);
  append(location);
  append(reason);
}

void bad_samples_note_failure(const struct source *source, int64_t sample) {
  if (comm_rank() == 0)
    bad_samples_note(source_key(source, sample), source_location(source, sample), error_message());
}

static void write_notes(const char *bytes, size_t size) {
  const char *end = bytes + size, *part[3];
  for (const char *p = bytes; p < end;) {
    for (int i = 0; i < 3; i++, p += strlen(p) + 1)
      part[i] = p;
    report_bad_sample(part[0], part[1], part[2]);
  }
}

void bad_samples_share(void) {
  size_t *sizes = memory_allocate((size_t)comm_size() * sizeof *sizes, "bad samples"), total = 0;
  comm_all_gather(&notes.length, sizes, sizeof *sizes);
  for (int r = 0; r < comm_size(); r++)
    total += sizes[r];
  if (total > 0) {
    char *all = memory_allocate(total, "bad samples");
    comm_all_gather_varied(notes.data, all, sizes);
    if (comm_rank() == 0)
      write_notes(all, total);
    memory_release(all);
  }
  text_release(&notes);
  memory_release(sizes);
}

enum status bad_samples_check(double bad, double seen, double limit, const char *where) {
  enum { FEW = 2 };
  if (bad <= limit * seen || (limit > 0 && bad <= FEW))
    return STATUS_OK;
  return error_set(STATUS_INPUT,
                   "%s: %.0f of %.0f samples were bad, more than data.bad_sample_limit = %g allows: see "
                   "bad_samples.jsonl in the run directory",
                   where, bad, seen, limit);
}
