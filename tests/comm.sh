#!/bin/sh
# Runs test_comm on 1, 2 and 4 ranks, through the shared window, over messages and across pretended nodes; then plays
# the faults. Prints TAP.
OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export OMPI_ALLOW_RUN_AS_ROOT OMPI_ALLOW_RUN_AS_ROOT_CONFIRM OMPI_MCA_rmaps_base_oversubscribe
program=./tests/test_comm
count=0
report() { # status, name
  count=$((count + 1))
  if test "$1" -eq 0; then echo "ok $count - $2"; else echo "not ok $count - $2"; fi
}

# Renumbers the program's lines and names the layout behind them.
run() { # name, ranks, pretended ranks per node (0: as it is)
  lines=$(MEMCLIP_COMM_NODE_RANKS=$3 mpirun --bind-to none -np "$2" $program)
  status=$?
  while read -r verdict _ _ name; do
    case $verdict in
      ok) report 0 "$name ($1)" ;;
      not) report 1 "$name ($1)" ;;
    esac
  done <<EOF
$(echo "$lines" | sed 's/^not ok/not/')
EOF
  report $status "leaves cleanly ($1)"
}
if ! command -v mpirun > /dev/null; then
  echo "1..0 # SKIP no mpirun"
  exit 0
fi
run "1 rank" 1 0
run "2 ranks" 2 0
run "4 ranks" 4 0
run "2 ranks by messages" 2 1
run "4 ranks on 2 pretended nodes" 4 2
run "4 ranks on unequal pretended nodes" 4 3

# One rank's fatal() ends all of them, soon and with its message.
start=$(date +%s)
words=$(timeout 60 mpirun --bind-to none -np 4 $program fatal 2>&1)
status=$?
seconds=$(($(date +%s) - start))
test $status -ne 0 && test $seconds -lt 20
report $? "fatal() on one rank ends four (status $status)"
case $words in
  *"rank 3"*"a deliberate end"*) report 0 "its message is printed with its rank" ;;
  *) report 1 "its message is printed with its rank: $words" ;;
esac

# Every process believes that it is alone.
words=$(PMI_SIZE=4 $program alone 2>&1)
status=$?
case $status:$words in
  3:*PMI_SIZE*pmix*) report 0 "a launch of strangers is explained" ;;
  *) report 1 "a launch of strangers is explained: $status $words" ;;
esac

if command -v taskset > /dev/null && test "$(nproc)" -gt 1; then
  case $(SLURM_CPUS_ON_NODE= taskset -c 0 $program affinity) in
    *"--bind-to none"*) report 0 "one core beside idle ones is warned about" ;;
    *) report 1 "one core beside idle ones is warned about" ;;
  esac
else
  report 0 "one core beside idle ones is warned about # SKIP needs taskset and two cores"
fi
echo "1..$count"
