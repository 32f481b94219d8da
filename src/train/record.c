#include "train/record.h"
#include "comm/comm.h"

static uint64_t pack(const struct session *session, const struct record_key *key) {
  const struct micro_batch *micro = key->micro ? key->micro : session->micro;
  const uint64_t parts[] = {(uint64_t)key->what, (uint64_t)(micro - session->micro), (uint64_t)key->place,
                            (uint64_t)key->columns, key->micro ? (uint64_t)micro->count : 0};
  static const int bits[] = {4, 14, 14, 12, 20};
  uint64_t packed = 0;
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
    if (parts[i] >> bits[i])
      return 0;
    packed = packed << bits[i] | parts[i];
  }
  return packed;
}

bool session_record(struct session *session, const struct record_key *key, bool wanted) {
  const uint64_t packed = wanted && session->settings->debug.graphs ? pack(session, key) : 0;
  session->recording = packed != 0;
  return session->recording && session->device->op->record(session->device, packed);
}

void session_submit(struct session *session) {
  if (session->recording)
    session->device->op->submit(session->device);
}

bool session_records_last(void) {
  return comm_size() == 1;
}
