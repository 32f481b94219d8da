/* A benchmark that runs beside a peer: the protocol of bench/beside.py. */
#ifndef MEMCLIP_BENCH_PACE_H
#define MEMCLIP_BENCH_PACE_H
/* For every line of standard input one step, and its seconds as a JSON line; returns at the end of the input. The
 * caller writes the first and the last line. */
void pace_steps(double (*timed_step)(void *context), void *context);
/* Most memory that the process had, in kB. */
long pace_peak_kilobytes(void);
#endif
