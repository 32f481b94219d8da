#include "config.h"
#include "base/error.h"
#include "base/clock.h"
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A message longer than this is cut; it lives without allocation so that it works when memory is short. Should the
 * listener or MPI_Abort itself hang, the alarm ends the process. */
enum { MESSAGE_BYTES = 8192, PATIENCE_SECONDS = 10 };
static _Thread_local char message[MESSAGE_BYTES];

static int fatal_rank;
static void (*fatal_hook)(void);
static void (*_Atomic fatal_listener)(const char *message);

enum status error_set(enum status status, const char *format, ...) {
  char fresh[MESSAGE_BYTES]; /* the arguments may point into `message` */
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(fresh, sizeof fresh, format, arguments);
  va_end(arguments);
  memcpy(message, fresh, strlen(fresh) + 1);
  return status;
}

enum status error_context(enum status status, const char *format, ...) {
  char fresh[MESSAGE_BYTES];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(fresh, sizeof fresh, format, arguments);
  va_end(arguments);
  size_t length = strlen(fresh), room = sizeof fresh - length;
  if (room > 3) {
    memcpy(fresh + length, ": ", 2);
    size_t kept = strnlen(message, room - 3);
    memcpy(fresh + length + 2, message, kept);
    fresh[length + 2 + kept] = '\0';
  }
  memcpy(message, fresh, strlen(fresh) + 1);
  return status;
}

const char *error_message(void) {
  return message;
}

void fatal_install(int rank, void (*hook)(void)) {
  fatal_rank = rank;
  fatal_hook = hook;
}

void fatal_listen(void (*listener)(const char *message)) {
  fatal_listener = listener;
}

/* The path as seen from the top of the source tree. */
static const char *source_path(const char *file) {
  const char *inside = strstr(file, "src/");
  return inside ? inside : file;
}

void fatal_at(const char *file, int line, const char *format, ...) {
  char text[MESSAGE_BYTES], told[MESSAGE_BYTES], host[256] = "?";
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  gethostname(host, sizeof host - 1);
  fprintf(stderr, "memclip: rank %d on %s, %.1f s: %s:%d: %s\n", fatal_rank, host, clock_seconds_of_run(),
          source_path(file), line, text);
  fflush(stderr);
  alarm(PATIENCE_SECONDS);
  void (*listener)(const char *message) = atomic_exchange(&fatal_listener, NULL);
  if (listener) {
    const int head = snprintf(told, sizeof told, "rank %d on %s: %s:%d: ", fatal_rank, host, source_path(file), line);
    snprintf(told + head, sizeof told - (size_t)head, "%s", text);
    listener(told);
  }
  if (fatal_hook)
    fatal_hook();
  abort();
}
