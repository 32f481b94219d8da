/* Cores of this process and small helpers over POSIX threads. */
#ifndef MEMCLIP_BASE_THREAD_H
#define MEMCLIP_BASE_THREAD_H
#include "base/error.h"
#include <pthread.h>
int thread_count_available(void); /* cores in the affinity mask, at least 1 */
int thread_count_online(void);    /* cores of the node */
/* pthread_create with a name (shown by top and gdb); fatal() when the system refuses. Signals are blocked in it. */
void thread_start(pthread_t *thread, const char *name, void *(*run)(void *), void *argument);
/* Calls run(argument, item) for 0 .. count-1 from up to `threads` threads, in any order, and waits. Items after a
 * failure may be left out; the status and message are those of the lowest item that failed. */
enum status thread_for_each(int threads, int count, enum status (*run)(void *argument, int item), void *argument);
#endif
