#include "config.h"
#include "report/lock.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/thread.h"
#include "report/job.h"
#include "report/lines.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

const struct lock_rules lock_rules_default = {.wait_seconds = 20, .stale_seconds = 60, .beat_seconds = 10};

/* What a lock file says. */
struct holder {
  char host[256], job[128];
  long pid;
  long long started; /* when the process began, in clock ticks since the host's boot: a pid alone may be used again */
  double heartbeat;  /* seconds since the epoch */
};

struct lock {
  struct lock_rules rules;
  struct holder self;
  char *path;
  int file; /* stays open: a heartbeat written into a lock that was taken away touches nobody else's */
  pthread_t thread;
  pthread_mutex_t mutex;
  pthread_cond_t wake;
  bool stop;
};

/* Field 22 of /proc/PID/stat; the name in field 2 may hold blanks and parentheses. 0 if there is no such process, or
 * only its remains (a zombie). */
static long long process_start(long pid) {
  char path[64], line[1024];
  snprintf(path, sizeof path, "/proc/%ld/stat", pid);
  FILE *file = fopen(path, "re");
  if (!file)
    return 0;
  size_t length = fread(line, 1, sizeof line - 1, file);
  fclose(file);
  line[length] = '\0';
  const char *p = strrchr(line, ')');
  if (!p || p[1] == '\0' || p[2] == 'Z' || p[2] == 'X')
    return 0;
  for (int field = 2; p && field < 22; field++)
    p = strchr(p + 1, ' ');
  return p ? strtoll(p, NULL, 10) : 0;
}

static void describe_self(struct holder *self) {
  *self = (struct holder){.pid = (long)getpid(), .started = process_start((long)getpid())};
  gethostname(self->host, sizeof self->host - 1);
  snprintf(self->job, sizeof self->job, "%s", job_id());
}

static void copy_text(const json_t *object, const char *name, char *out, size_t size) {
  const char *text = json_string_value(json_object_get(object, name));
  snprintf(out, size, "%s", text ? text : "");
}

/* false if there is no file, or it is not whole (its maker may be about to write it). */
static bool read_holder(const char *path, struct holder *holder) {
  struct text content = {0};
  json_t *object = file_read(path, &content) == STATUS_OK ? json_loads(content.data, 0, NULL) : NULL;
  text_release(&content);
  if (!object)
    return false;
  *holder = (struct holder){.pid = (long)json_integer_value(json_object_get(object, "pid")),
                            .started = json_integer_value(json_object_get(object, "started")),
                            .heartbeat = json_number_value(json_object_get(object, "heartbeat"))};
  copy_text(object, "host", holder->host, sizeof holder->host);
  copy_text(object, "job", holder->job, sizeof holder->job);
  json_decref(object);
  return true;
}

static bool is_same(const struct holder *a, const struct holder *b) {
  return a->pid == b->pid && a->started == b->started && strcmp(a->host, b->host) == 0;
}

/* One write of constant length, flushed so that other hosts see it. */
static bool write_heartbeat(struct lock *lock) {
  lock->self.heartbeat = clock_wall_seconds();
  json_t *object = json_object();
  json_object_set_new(object, "host", lines_text(lock->self.host));
  json_object_set_new(object, "pid", json_integer(lock->self.pid));
  json_object_set_new(object, "job", lines_text(lock->self.job));
  json_object_set_new(object, "started", json_integer(lock->self.started));
  json_object_set_new(object, "heartbeat", json_integer((json_int_t)lock->self.heartbeat));
  char *dump = json_dumps(object, JSON_PRESERVE_ORDER);
  char *line = text_format("%-510s\n", dump ? dump : "");
  json_decref(object);
  free(dump);
  size_t length = strlen(line);
  bool good = pwrite(lock->file, line, length, 0) == (ssize_t)length && fsync(lock->file) == 0;
  memory_release(line);
  return good;
}

/* May the lock be taken from its holder, now? */
static bool is_abandoned(const struct lock *lock, const struct holder *holder) {
  const struct holder *self = &lock->self;
  if (is_same(holder, self))
    return false; /* this very process runs there already */
  if (self->job[0] != '\0' && strcmp(self->job, holder->job) == 0)
    return true;
  if (strcmp(self->host, holder->host) == 0)
    return holder->started != 0 ? process_start(holder->pid) != holder->started
                                : kill((pid_t)holder->pid, 0) != 0 && errno == ESRCH;
  return clock_wall_seconds() - holder->heartbeat > lock->rules.stale_seconds;
}

/* The file's own age stands in where it says nothing. */
static bool is_empty_and_old(const struct lock *lock) {
  int64_t size, modified_ns;
  return file_stat(lock->path, &size, &modified_ns) == STATUS_OK &&
         clock_wall_seconds() - 1e-9 * (double)modified_ns > lock->rules.stale_seconds;
}

/* Takes the abandoned file away under another name, so that of several takers one wins; puts it back if meanwhile it is
 * somebody else's. */
static void take_away(const struct lock *lock, const struct holder *expected) {
  char *away = text_format("%s.%s.%ld", lock->path, lock->self.host, lock->self.pid);
  struct holder found;
  if (rename(lock->path, away) == 0) {
    if (expected && read_holder(away, &found) && !is_same(&found, expected) && link(away, lock->path) != 0)
      error_set(STATUS_SYSTEM, "cannot put %s back: %s", lock->path, strerror(errno));
    unlink(away);
  }
  memory_release(away);
}

/* STATUS_OK with *taken; not taken means that the file exists. */
static enum status try_create(struct lock *lock, bool *taken) {
  *taken = false;
  lock->file = open(lock->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (lock->file < 0)
    return errno == EEXIST ? STATUS_OK : error_set(STATUS_SYSTEM, "cannot create %s: %s", lock->path, strerror(errno));
  *taken = write_heartbeat(lock);
  if (*taken)
    return STATUS_OK;
  int cause = errno;
  close(lock->file);
  unlink(lock->path);
  return error_set(STATUS_SYSTEM, "cannot write %s: %s", lock->path, strerror(cause));
}

static enum status refuse(const struct lock *lock, const struct holder *holder) {
  char age[32];
  clock_format_duration(clock_wall_seconds() - holder->heartbeat, age);
  return error_set(STATUS_INPUT,
                   "another run holds this directory: process %ld on %s%s%s, heartbeat %s ago (%s). Take another "
                   "run.directory, end that run (an empty file STOP beside the lock does), or remove the lock if you "
                   "know that it is dead",
                   holder->pid, holder->host, holder->job[0] ? ", job " : "", holder->job, age, lock->path);
}

static void tell_waiting(const struct lock *lock, const struct holder *holder, void (*waiting)(const char *message)) {
  char *message = text_format("process %ld on %s holds the run directory; waiting up to %.0f s for its end",
                              holder->pid, holder->host, lock->rules.wait_seconds);
  if (waiting)
    waiting(message);
  memory_release(message);
}

static enum status take(struct lock *lock, void (*waiting)(const char *message)) {
  static const double LOOK_SECONDS = 0.2;
  double start = clock_seconds();
  bool told = false;
  for (;;) {
    struct holder holder = {.host = "an unknown host"};
    bool taken;
    TRY(try_create(lock, &taken));
    if (taken)
      return STATUS_OK;
    bool known = read_holder(lock->path, &holder);
    if (known ? is_abandoned(lock, &holder) : is_empty_and_old(lock)) {
      take_away(lock, known ? &holder : NULL);
      continue;
    }
    if (clock_seconds() - start >= lock->rules.wait_seconds)
      return refuse(lock, &holder);
    if (known && !told)
      tell_waiting(lock, &holder, waiting);
    told |= known;
    clock_sleep(LOOK_SECONDS);
  }
}

/* Another process may take over when our job was started again: then this one is an orphan and must not write any more.
 */
static void check_owner(const struct lock *lock) {
  struct holder holder;
  if (!read_holder(lock->path, &holder) || is_same(&holder, &lock->self))
    return;
  fatal_listen(NULL); /* the directory's status.json is the other's */
  fatal("process %ld on %s took over the run directory (%s): this process ends", holder.pid, holder.host, lock->path);
}

static void *keep_heartbeat(void *argument) {
  struct lock *lock = argument;
  memory_stop_counting();
  pthread_mutex_lock(&lock->mutex);
  while (!lock->stop) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    double next = (double)until.tv_sec + 1e-9 * (double)until.tv_nsec + lock->rules.beat_seconds;
    until.tv_sec = (time_t)next;
    until.tv_nsec = (long)((next - (double)until.tv_sec) * 1e9);
    int result = pthread_cond_timedwait(&lock->wake, &lock->mutex, &until);
    if (result == ETIMEDOUT && !lock->stop) {
      check_owner(lock);
      write_heartbeat(lock); /* a failure shows as a stale heartbeat */
    }
  }
  pthread_mutex_unlock(&lock->mutex);
  return NULL;
}

enum status lock_take(const char *directory, const struct lock_rules *rules, void (*waiting)(const char *message),
                      struct lock **lock) {
  struct lock *fresh = memory_allocate(sizeof *fresh, "lock");
  fresh->rules = *rules;
  fresh->path = text_join_path(directory, "lock");
  describe_self(&fresh->self);
  enum status status = take(fresh, waiting);
  if (status != STATUS_OK) {
    memory_release(fresh->path);
    memory_release(fresh);
    return status;
  }
  pthread_mutex_init(&fresh->mutex, NULL);
  pthread_cond_init(&fresh->wake, NULL);
  thread_start(&fresh->thread, "lock", keep_heartbeat, fresh);
  *lock = fresh;
  return STATUS_OK;
}

void lock_release(struct lock *lock) {
  if (!lock)
    return;
  pthread_mutex_lock(&lock->mutex);
  lock->stop = true;
  pthread_cond_signal(&lock->wake);
  pthread_mutex_unlock(&lock->mutex);
  pthread_join(lock->thread, NULL);
  struct holder holder;
  if (read_holder(lock->path, &holder) && is_same(&holder, &lock->self))
    unlink(lock->path);
  close(lock->file);
  pthread_cond_destroy(&lock->wake);
  pthread_mutex_destroy(&lock->mutex);
  memory_release(lock->path);
  memory_release(lock);
}
