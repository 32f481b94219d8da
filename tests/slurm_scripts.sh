#!/bin/sh
# What the job scripts ask of srun and when they requeue, with programs in the place of Slurm's that write it down.
top_srcdir=${top_srcdir:-.}
case $top_srcdir in /*) ;; *) top_srcdir=$PWD/$top_srcdir ;; esac
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
cat >srun <<'END'
#!/bin/sh
echo "srun $* bind=${SLURM_GPU_BIND:-} cpus=$SRUN_CPUS_PER_TASK" >>calls
exit "$SRUN_STATUS"
END
printf '#!/bin/sh\necho "scontrol $*" >>calls\n' >scontrol
printf '#!/bin/sh\n' >sleep
chmod +x srun scontrol sleep
number=0
job() { # job STATUS RESTARTS SCRIPT: exit status in $status, calls in ./calls
  rm -f calls
  SRUN_STATUS=$1 SLURM_RESTART_COUNT=$2 SLURM_JOB_ID=77 SLURM_CPUS_PER_TASK=12 MEMCLIP_SLURM=$top_srcdir/slurm \
    PATH=$work:$PATH bash "$top_srcdir/slurm/$3" "an input.nml" --set optim.lr=1e-3 2>err
  status=$?
}
check() { # check DESCRIPTION STATUS PATTERN...: the exit status, and each pattern is among the calls; !PATTERN is not
  number=$((number + 1))
  description=$1 wrong=
  [ "$status" = "$2" ] || wrong="exit status $status"
  shift 2
  for pattern in "$@"; do
    case $pattern in
    !*) grep -q -- "${pattern#!}" calls && wrong="$wrong; '${pattern#!}' is there" ;;
    *) grep -q -- "$pattern" calls || wrong="$wrong; '$pattern' is not there" ;;
    esac
  done
  [ -z "$wrong" ] && { echo "ok $number - $description"; return; }
  echo "# $wrong"
  sed 's/^/# /' calls err
  echo "not ok $number - $description"
}
job 0 0 train-gpu.sbatch
check "GPU nodes: each rank sees all GPUs, with its cores, on device cuda" 0 \
  "memclip an input.nml --set optim.lr=1e-3" \
  "--set run.device='cuda' bind=none cpus=12" "--kill-on-bad-exit" "!scontrol"
job 75 0 train-gpu.sbatch
check "a time limit requeues" 75 "scontrol requeue 77"
job 75 20 train-gpu.sbatch
check "so many times and no more" 75 "!scontrol"
job 1 0 train-gpu.sbatch
check "bad input does not" 1 "!scontrol"
job 75 0 train.sbatch
check "CPU nodes likewise" 75 "scontrol requeue 77" "!run.device"
echo "1..$number"
