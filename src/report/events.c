#include "config.h"
#include "report/events.h"
#include "base/checksum.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"
#include "report/event.pb-c.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct events {
  FILE *file;
  char *path;
};

/* TFRecord's checksum: rotated and shifted, so that a CRC stored among data is not taken for theirs. */
static uint32_t masked_crc(const void *data, size_t size) {
  uint32_t crc = checksum_crc32c(0, data, size);
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

static void put_little_endian(uint8_t *out, uint64_t value, int bytes) {
  for (int i = 0; i < bytes; i++)
    out[i] = (uint8_t)(value >> (8 * i));
}

/* length (8 bytes), its CRC (4), the message, its CRC (4) */
static enum status write_event(struct events *events, Report__Event *event) {
  event->has_wall_time = event->has_step = 1;
  event->wall_time = clock_wall_seconds();
  size_t size = report__event__get_packed_size(event);
  uint8_t *frame = memory_allocate(size + 16, "event");
  put_little_endian(frame, size, 8);
  put_little_endian(frame + 8, masked_crc(frame, 8), 4);
  report__event__pack(event, frame + 12);
  put_little_endian(frame + 12 + size, masked_crc(frame + 12, size), 4);
  bool good = fwrite(frame, 1, size + 16, events->file) == size + 16 && fflush(events->file) == 0;
  memory_release(frame);
  return good ? STATUS_OK : error_set(STATUS_SYSTEM, "cannot write %s: %s", events->path, strerror(errno));
}

static enum status write_start(struct events *events, int64_t first_step) {
  char version[] = "brain.Event:2";
  Report__Event head = REPORT__EVENT__INIT, start = REPORT__EVENT__INIT;
  Report__SessionLog session = REPORT__SESSION_LOG__INIT;
  head.file_version = version;
  TRY(write_event(events, &head));
  session.has_status = 1;
  session.status = 1;
  start.session_log = &session;
  start.step = first_step;
  return write_event(events, &start);
}

enum status events_open(const char *directory, int64_t first_step, struct events **events) {
  static int opened_before; /* two files of one second and process keep their order by name */
  char host[256] = "localhost";
  gethostname(host, sizeof host - 1);
  char *name = text_format("events.out.tfevents.%.0f.%s.%ld.%d", floor(clock_wall_seconds()), host, (long)getpid(),
                           opened_before++);
  struct events *opened = memory_allocate(sizeof *opened, "events");
  opened->path = text_join_path(directory, name);
  memory_release(name);
  opened->file = fopen(opened->path, "we");
  enum status status = opened->file ? write_start(opened, first_step)
                                    : error_set(STATUS_SYSTEM, "cannot create %s: %s", opened->path, strerror(errno));
  if (status != STATUS_OK) {
    events_close(opened);
    return status;
  }
  *events = opened;
  return STATUS_OK;
}

enum status events_write(struct events *events, int64_t step, const struct report_value *values, int count) {
  Report__Summary__Value *items = memory_allocate((size_t)count * sizeof *items, "event values");
  Report__Summary__Value **list = memory_allocate((size_t)count * sizeof *list, "event values");
  Report__Summary summary = REPORT__SUMMARY__INIT;
  Report__Event event = REPORT__EVENT__INIT;
  for (int i = 0; i < count; i++) {
    if (!isfinite(values[i].value))
      continue;
    Report__Summary__Value *item = list[summary.n_value] = &items[summary.n_value];
    summary.n_value++;
    report__summary__value__init(item);
    item->tag = (char *)values[i].name;
    item->has_simple_value = 1;
    item->simple_value = (float)values[i].value;
  }
  summary.value = list;
  event.summary = &summary;
  event.step = step;
  enum status status = write_event(events, &event);
  memory_release(list);
  memory_release(items);
  return status;
}

void events_close(struct events *events) {
  if (!events)
    return;
  if (events->file)
    fclose(events->file);
  memory_release(events->path);
  memory_release(events);
}
