/* The batch system's number of the job that this process belongs to, "" outside of one. */
#ifndef MEMCLIP_REPORT_JOB_H
#define MEMCLIP_REPORT_JOB_H
const char *job_id(void);
#endif
