#!/bin/sh
# The job scripts on a single-node Slurm that this test starts for itself; skipped by name where Slurm is not installed
# or cannot be started.
. "${top_srcdir:-.}/tests/world.sh"
skip_all() { echo "1..0 # SKIP $1"; exit 0; }
for program in slurmctld slurmd sbatch munged; do
  command -v $program >/dev/null || skip_all "$program is not installed"
done
[ "$(id -u)" = 0 ] || skip_all "starting Slurm needs root"
pgrep -x slurmctld >/dev/null && skip_all "a Slurm is running here already"

host=$(hostname -s)
cores=$(nproc --all)
mkdir -p state spool /run/munge
cat >slurm.conf <<END
ClusterName=memclip
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
StateSaveLocation=$PWD/state
SlurmdSpoolDir=$PWD/spool
SlurmctldPidFile=$PWD/slurmctld.pid
SlurmdPidFile=$PWD/slurmd.pid
SlurmctldLogFile=$PWD/slurmctld.log
SlurmdLogFile=$PWD/slurmd.log
SlurmctldPort=16817
SlurmdPort=16818
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SlurmdParameters=config_overrides
ReturnToService=2
MpiDefault=pmix
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
KillWait=30
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cores Boards=1 SocketsPerBoard=1 CoresPerSocket=$cores ThreadsPerCore=1 \
State=UNKNOWN
PartitionName=all Nodes=$host Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:4
END
export SLURM_CONF=$PWD/slurm.conf
daemons= # kept here, since the folder with their files is gone when the test ends well
stop_slurm() {
  # shellcheck disable=SC2086
  [ -z "$daemons" ] || kill $daemons 2>/dev/null
  wait_for_end 'slurmctld|slurmd'
  [ "${own_munge:-}" = 1 ] || return
  pkill -x munged
  wait_for_end munged
}
wait_for_end() { # wait_for_end PROGRAM: for 15 s at most
  for _ in $(seq 30); do pgrep -x "$1" >/dev/null || return; sleep 0.5; done
}
trap stop_slurm EXIT
if ! pgrep -x munged >/dev/null; then
  own_munge=1
  [ -f /etc/munge/munge.key ] || skip_all "no munge key"
  chown munge: /run/munge 2>/dev/null
  su -s /bin/sh munge -c munged 2>/dev/null || munged --force >/dev/null 2>&1
fi
slurmctld -c >/dev/null 2>&1 && slurmd -c >/dev/null 2>&1
for _ in 1 2 3 4 5 6 7 8 9 10; do sinfo -h -o %T 2>/dev/null | grep -q idle && break; sleep 1; done
daemons=$(cat slurmd.pid slurmctld.pid 2>/dev/null)
sinfo -h -o %T 2>/dev/null | grep -q idle || skip_all "Slurm could not be started here"

write_input pretrain pretrain.nml
echo "&model config='$world/model.json' /" >>pretrain.nml
cp pretrain.nml second.nml
sed -i "s/directory='pretrain'/directory='second'/" second.nml
export MEMCLIP_SLURM=$top_srcdir/slurm
wait_for() { # wait_for JOB: until it has left the queue
  for _ in $(seq 120); do squeue -h -j "$1" 2>/dev/null | grep -q . || return 0; sleep 0.5; done
  return 1
}
chained() {
  jobs=$("$top_srcdir/slurm/chain.sh" --ntasks=2 --cpus-per-task=1 -- pretrain.nml second.nml) || return 1
  wait_for "$(echo "$jobs" | sed -n 's/second.nml: job //p')"
  cat -- memclip-*.out
  grep -q '"state": *"done"' pretrain/status.json && grep -q '"state": *"done"' second/status.json
}
ok "a chain of two jobs under srun" chained
requeued() {
  job=$(sbatch --parsable --ntasks=2 --cpus-per-task=1 "$top_srcdir/slurm/train.sbatch" pretrain.nml \
    --set run.directory=requeued --set optim.epochs=60 --set validation.every_epochs=0)
  for _ in $(seq 100); do grep -q running requeued/status.json 2>/dev/null && break; sleep 0.2; done
  sleep 1
  scancel --signal=USR1 "$job"
  for _ in $(seq 60); do grep -qE '"state": *"requeue"' requeued/status.json && break; sleep 0.5; done
  grep -qE '"state": *"requeue"' requeued/status.json || return 1
  for _ in $(seq 60); do
    squeue -h -j "$job" -o %r 2>/dev/null | grep -qiE 'begin|requeue' && break
    squeue -h -j "$job" | grep -q . || return 1
    sleep 0.5
  done
  scancel "$job"
}
ok "USR1 ends with a checkpoint and a requeue" requeued
finish
