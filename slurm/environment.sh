# Sourced by the job scripts. Load your site's modules here or before sbatch, e.g.: module load memclip
export OMP_WAIT_POLICY=passive                      # spinning threads starve the loader's
export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}" # srun ignores sbatch's --cpus-per-task since 22.05
export HDF5_USE_FILE_LOCKING=FALSE                  # Lustre and NFS refuse locks
# OMP_NUM_THREADS stays unset: a rank takes its cores less what its loader needs.

# run INPUT [memclip options]: one launch; a run that stopped at its time limit or on USR1 (status 75) is requeued, at
# most REQUEUES times.
run() {
  status=0
  srun --mpi="${MPI_TYPE:-pmix}" --kill-on-bad-exit=1 memclip "$@" || status=$?
  [ "$status" = 75 ] || return "$status"
  if [ "${SLURM_RESTART_COUNT:-0}" -ge "${REQUEUES:-20}" ]; then
    echo "stopped at the time limit after ${SLURM_RESTART_COUNT} restarts: not requeued again" >&2
    return 75
  fi
  scontrol requeue "$SLURM_JOB_ID" || return 75
  sleep 60 # the requeue ends this job
  return 75
}
