#!/bin/sh
# A stopped and resumed run is the uninterrupted one to the bit; other numbers of ranks go on with the same global
# batches; requests to stop have their exit codes.
. "${top_srcdir:-.}/tests/world.sh"
write_input pretrain pretrain.nml
cat >>pretrain.nml <<END
&model config='$world/model.json' /
&optim lr=1e-3 warmup_steps=2 epochs=2 /
END
sed -i '/^&optim.*epochs=1 /d' pretrain.nml
run() { mpirun -n 2 memclip pretrain.nml --set data.batch_size=8 "$@"; }
same() { compare_checkpoints "$1/checkpoints/latest.h5" "$2/checkpoints/latest.h5" "$3"; }
ok "uninterrupted" run --set "run.directory='whole'"
stop_and_go() { # the file STOP is looked for once a second: stop by steps with a STOP that is there from the beginning
  mkdir -p stopped && touch stopped/STOP
  mpirun -n 2 memclip pretrain.nml --set data.batch_size=8 --set "run.directory='stopped'"
  [ "$(sed -n 's/.*"exit": *\([0-9]*\).*/\1/p' stopped/status.json)" = 76 ] || return 1
  [ ! -e stopped/STOP ] || return 1
  step=$(sed -n 's/.*"step": *\([0-9]*\).*/\1/p' stopped/status.json)
  [ "$step" -lt 32 ] && run --set "run.directory='stopped'"
}
ok "STOP in mid-epoch, then again" stop_and_go
ok "resumed is uninterrupted, to the bit" same whole stopped 0
usr1() {
  mpirun -n 2 memclip pretrain.nml --set data.batch_size=8 --set "run.directory='signalled'" &
  pid=$!
  until grep -q running signalled/status.json 2>/dev/null; do sleep 0.05; done
  kill -USR1 $pid
  wait $pid
  code=$(sed -n 's/.*"exit": *\([0-9]*\).*/\1/p' signalled/status.json)
  [ "$code" = 75 ] || [ "$code" = 0 ]
}
ok "SIGUSR1 ends with a checkpoint and status 75" usr1
ok "and goes on from there" run --set "run.directory='signalled'"
ok "to the same bits" same whole signalled 0
other_ranks() {
  mkdir -p fewer && touch fewer/STOP
  mpirun -n 2 memclip pretrain.nml --set data.batch_size=8 --set "run.directory='fewer'"
  mpirun -n 1 memclip pretrain.nml --set data.batch_size=8 --set "run.directory='fewer'"
}
ok "stopped on 2 ranks, resumed on 1" other_ranks
ok "is the same training" same whole fewer 2e-5
ok "a directory of another input is refused" sh -c \
  'mpirun -n 2 memclip pretrain.nml --set "run.directory=whole" --set optim.lr=2e-3 2>&1 | grep -q "optim.lr"'
branch() {
  run --set "run.directory='branch'" --set "run.resume='whole'" --set "run.resume_reset='data,schedule'" \
    --set optim.epochs=1
}
ok "branching from another run" branch
finish
