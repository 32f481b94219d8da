#include "report/job.h"
#include <stddef.h>
#include <stdlib.h>

const char *job_id(void) {
  static const char *const variables[] = {"SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "FLUX_JOB_ID", "PJM_JOBID"};
  for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++) {
    const char *value = getenv(variables[i]);
    if (value && value[0] != '\0')
      return value;
  }
  return "";
}
