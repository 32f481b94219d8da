/* Monotonic seconds for measuring, wall time for people. */
#ifndef MEMCLIP_BASE_CLOCK_H
#define MEMCLIP_BASE_CLOCK_H
double clock_seconds(void);          /* monotonic */
double clock_seconds_of_run(void);   /* since the program started */
double clock_wall_seconds(void);     /* since the epoch */
void clock_format_now(char out[32]); /* 2026-01-31 14:02:59 local time */
void clock_sleep(double seconds);
/* "1 h 02 min", "3 min 10 s", "12 s" */
void clock_format_duration(double seconds, char out[32]);
#endif
