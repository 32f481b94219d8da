/* The lock of a run directory, so that two runs never write into one: the file "lock" with host, pid, job and a
 * heartbeat, made with O_EXCL. Rank 0 alone takes it. Rules of taking it over: at once when the holder's job is ours or
 * its process is dead on this host; after `stale_seconds` without a heartbeat otherwise; a live holder is waited for,
 * since ranks may outlive a killed launcher by seconds. */
#ifndef MEMCLIP_REPORT_LOCK_H
#define MEMCLIP_REPORT_LOCK_H
#include "base/error.h"

struct lock_rules {
  double wait_seconds;  /* for a live holder, 20 */
  double stale_seconds; /* a heartbeat older than this is a dead holder's, 60 */
  double beat_seconds;  /* between heartbeats, 10 */
};
extern const struct lock_rules lock_rules_default;

struct lock;
/* STATUS_INPUT with who holds the directory (which must exist) when it is refused. A thread then keeps the heartbeat;
 * it ends the program when another process took the lock over. `waiting` (may be NULL) is told once that the holder is
 * waited for. */
enum status lock_take(const char *directory, const struct lock_rules *rules, void (*waiting)(const char *message),
                      struct lock **lock);
/* Stops the heartbeat and removes the file if it is still ours. NULL is allowed. */
void lock_release(struct lock *lock);
#endif
