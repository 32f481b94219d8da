#!/bin/sh
# One rank fails: all end within seconds, with its message printed once, and nothing written is lost.
. "${top_srcdir:-.}/tests/world.sh"
write_input pretrain pretrain.nml
echo "&model config='$world/model.json' /" >>pretrain.nml
write_input distill distill.nml
cat >>distill.nml <<END
&teacher weights='pretrain/checkpoints/latest.h5' cache='features.cache' /
&memory layers=1 n_keys=5 heads=2 knn=3 k_dim=16 v_dim=24 init='meta' /
END
# fails STATUS MESSAGE DIRECTORY COMMAND...: ends with that status in DIRECTORY/status.json before 20 seconds are over
fails() {
  wanted=$1 words=$2 directory=$3
  shift 3
  start=$(date +%s)
  timeout -k 5 60 "$@" >output.txt 2>&1 && { echo "it did not fail"; return 1; }
  cat output.txt
  [ $(($(date +%s) - start)) -lt 20 ] || { echo "it took $(($(date +%s) - start)) s"; return 1; }
  [ "$(grep -c "$words" output.txt)" = 1 ] || { echo "the message is not there once"; return 1; }
  cat "$directory/status.json"
  grep -q '"state": *"failed"' "$directory/status.json" && grep -q "$words" "$directory/status.json" &&
    grep -q "\"exit\": *$wanted" "$directory/status.json"
}
ok "pretrain" mpirun -n 2 memclip pretrain.nml
ok "a device that one rank cannot open" fails 1 'avx2048' device mpirun -n 1 memclip pretrain.nml \
  --set run.directory=device : -n 1 -x MEMCLIP_ISA=avx2048 memclip pretrain.nml --set run.directory=device
mkdir -p elsewhere
sed "s|'pretrain/|'../pretrain/|" distill.nml >elsewhere/distill.nml
ok "weights that one rank does not see" fails 1 'rank 1 on .*cannot open pretrain' weights mpirun -n 1 \
  memclip distill.nml --set run.directory=weights --set data.augment=none : -n 1 -wdir "$work/elsewhere" \
  memclip ../distill.nml --set run.directory=weights --set data.augment=none
ok "a disk that fills for one rank in mid-run" fails 3 'cannot write teacher.cache' cache mpirun -n 1 \
  memclip distill.nml --set run.directory=cache --set data.augment=none \
  : -n 1 sh -c "trap '' XFSZ; ulimit -f 8; exec memclip distill.nml --set run.directory=cache --set data.augment=none"
killed() {
  timeout -k 5 60 mpirun -n 1 memclip pretrain.nml --set run.directory=killed --set optim.epochs=2000 \
    : -n 1 sh -c 'echo $$ >rank1.pid; exec memclip pretrain.nml --set run.directory=killed --set optim.epochs=2000' &
  launcher=$!
  until ls killed/checkpoints/step_*.h5 >/dev/null 2>&1; do sleep 0.1; done
  kill -KILL "$(cat rank1.pid)"
  start=$(date +%s)
  wait $launcher && return 1
  [ $(($(date +%s) - start)) -lt 10 ]
}
ok "a rank that is killed" killed
ok "and the run goes on from its checkpoint" sh -c \
  'mpirun -n 2 memclip pretrain.nml --set run.directory=killed --set optim.epochs=2000 \
    --set run.time_limit_minutes=0.01 2>&1 | grep "going on from"'
finish
