#include "comm/launch.h"
#include "base/thread.h"
#include "comm/comm.h"
#include <stdio.h>
#include <stdlib.h>

static long environment_number(const char *name) {
  const char *value = getenv(name);
  return value != NULL ? strtol(value, NULL, 10) : 0;
}

/* A Slurm step that srun started; the shell of an interactive allocation or batch script is a step too, numbered from
 * here on. */
static long slurm_step_tasks(void) {
  const long first_special_step = 4294967290;
  if (getenv("SLURM_STEP_ID") == NULL || environment_number("SLURM_STEP_ID") >= first_special_step)
    return 0;
  const long tasks = environment_number("SLURM_STEP_NUM_TASKS");
  return tasks > 0 ? tasks : environment_number("SLURM_NTASKS");
}

enum status launch_check_alone(int mpi_size) {
  /* The innermost launcher decides: mpirun may itself run in a Slurm step. */
  static const char *const launchers[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"};
  long expected = 0;
  const char *source = "SLURM_NTASKS";
  for (size_t i = 0; i < sizeof launchers / sizeof *launchers && expected == 0; i++) {
    expected = environment_number(launchers[i]);
    source = expected > 0 ? launchers[i] : source;
  }
  if (expected == 0)
    expected = slurm_step_tasks();
  if (mpi_size > 1 || expected <= 1)
    return STATUS_OK;
  return error_set(STATUS_SYSTEM,
                   "the launcher started %ld processes (%s), but MPI sees this one alone: each would train by itself. "
                   "The launcher and the MPI library of this build do not match: use the mpirun of the same MPI, or "
                   "under Slurm 'srun --mpi=pmix' ('srun --mpi=list' shows what this cluster offers)",
                   expected, source);
}

const char *comm_affinity_warning(void) {
  static char sentence[400];
  const long given = environment_number("SLURM_CPUS_ON_NODE");
  const long cores = given > 0 ? given : thread_count_online();
  if (thread_count_available() != 1 || cores <= comm_local_size())
    return NULL;
  snprintf(
      sentence, sizeof sentence,
      "this rank is bound to one core while %ld cores serve %d rank%s on this node: start with 'mpirun --bind-to none' "
      "or 'mpirun --map-by slot:PE=%ld --bind-to core' (under Slurm: --cpus-per-task=%ld and export "
      "SRUN_CPUS_PER_TASK)",
      cores, comm_local_size(), comm_local_size() == 1 ? "" : "s", cores / comm_local_size(),
      cores / comm_local_size());
  return sentence;
}
