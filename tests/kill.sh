#!/bin/sh
# Kills the program at random instants (KILLS, default 10) and compares with an uninterrupted run: nothing is lost but
# time.
. "${top_srcdir:-.}/tests/world.sh"
write_input pretrain pretrain.nml
cat >>pretrain.nml <<END
&model config='$world/model.json' /
&checkpoint every_steps=3 keep=2 /
&validation every_epochs=0 /
END
run() { mpirun -n 2 memclip pretrain.nml --set data.batch_size=2 "$@"; }
seed=${KILL_SEED:-1}
random() { seed=$(((seed * 1103515245 + 12345) % 2147483648)); echo $((seed / 65536 % $1)); }
run --set "run.directory='whole'" >/dev/null 2>&1
kills=0
complete() { grep -q '"state": "done"' killed/status.json 2>/dev/null; }
same() { compare_checkpoints whole/checkpoints/latest.h5 killed/checkpoints/latest.h5 0; }
killed_runs() { # a run that got to its end between two kills is compared, and another one begins
  while [ "$kills" -lt "${KILLS:-10}" ]; do
    if complete; then
      same || return 1
      rm -rf killed
    fi
    run --set "run.directory='killed'" >>killed.log 2>&1 &
    pid=$!
    sleep "$(printf '0.%03d' $((300 + $(random 700))))"
    pkill -KILL -P $pid 2>/dev/null
    kill -KILL $pid 2>/dev/null
    wait $pid 2>/dev/null
    kills=$((kills + 1))
  done
  run --set "run.directory='killed'" >>killed.log 2>&1 || { tail -n 5 killed.log; return 1; }
}
ok "$((${KILLS:-10})) kills at random instants, then a last run" killed_runs
ok "the result is the uninterrupted one, to the bit" same
ok "no temporary file is left" sh -c '! ls -a killed/checkpoints | grep -qE "tmp|temporary"'
finish
