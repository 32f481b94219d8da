/* Errors in two tiers.
 *
 * Bad input returns a status; the message is made where the cause is known and kept per thread (error_set).
 * TRY passes a failure up; error_context adds where ("in shard x.tar: ..."). A broken machine or a broken contract
 * calls fatal(): rank, host, elapsed time, file:line, the message, the listener (status.json), then the hook (comm/
 * installs MPI_Abort) or abort.
 * `exit`, `abort` and `assert` occur nowhere else. */
#ifndef MEMCLIP_BASE_ERROR_H
#define MEMCLIP_BASE_ERROR_H

enum status {
  STATUS_OK = 0,
  STATUS_INPUT = 1,    /* the input is wrong: keys, files, shapes */
  STATUS_USAGE = 2,    /* the command line is wrong */
  STATUS_SYSTEM = 3,   /* writing, disk, device or a library failed */
  STATUS_REQUEUE = 75, /* stopped at a time limit or on SIGUSR1 with a complete checkpoint */
  STATUS_STOPPED = 76  /* stopped by the user */
};

/* Records the message of a failure for this thread and returns `status`, so that `return error_set(...)` reads well. */
enum status error_set(enum status status, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Puts "prefix: " before the recorded message; returns `status`. */
enum status error_context(enum status status, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The message of this thread's last failure, never NULL. Valid until the next error_set of this thread. */
const char *error_message(void);

#define TRY(call)                                                                                                      \
  do {                                                                                                                 \
    enum status try_status_ = (call);                                                                                  \
    if (try_status_ != STATUS_OK)                                                                                      \
      return try_status_;                                                                                              \
  } while (0)

_Noreturn void fatal_at(const char *file, int line, const char *format, ...) __attribute__((format(printf, 3, 4)));
#define fatal(...) fatal_at(__FILE__, __LINE__, __VA_ARGS__)
/* `rank` is printed with every fatal message; `hook` (may be NULL) ends all ranks and does not return. */
void fatal_install(int rank, void (*hook)(void));
/* `listener` (NULL: none) is told "rank 3 on n01: src/io/store.c:12: message" before the hook, by the thread that
 * failed; what fails in it is not told again. */
void fatal_listen(void (*listener)(const char *message));

#endif
