#!/bin/sh
# Every way to stop a run: exit status, status.json, the message, and that the run goes on to the same bits.
. "${top_srcdir:-.}/tests/world.sh"
write_input pretrain pretrain.nml
echo "&model config='$world/model.json' /" >>pretrain.nml
long="--set optim.epochs=2000 --set checkpoint.every_epochs=0 --set validation.every_epochs=0"
of_status() { sed -n "s/.*\"$2\": *\"*\([^\",]*\)\"*,*/\1/p" "$1/status.json"; }
# stopped LAUNCH DIRECTORY STATUS STATE WORDS: the exit status of the program (- under mpirun, which makes its own),
# status.json with a complete checkpoint of the step it names, and the words in log.txt once
stopped() {
  status=$1 directory=$2 wanted=$3 state=$4 words=$5
  [ "$status" = - ] || [ "$status" = "$wanted" ] || { echo "exit status $status instead of $wanted"; return 1; }
  found="$(of_status "$directory" state) $(of_status "$directory" exit)"
  [ "$found" = "$state $wanted" ] || { echo "status.json says $found"; return 1; }
  [ "$(of_status "$directory" checkpoint)" = \
    "$(printf 'checkpoints/step_%07d.h5' "$(of_status "$directory" step)")" ] || return 1
  [ -f "$directory/$(of_status "$directory" checkpoint)" ] || { echo "no such checkpoint"; return 1; }
  [ "$(grep -c "stopped at step .* $words" "$directory/log.txt")" = 1 ] || { cat "$directory/log.txt"; return 1; }
  [ ! -e "$directory/lock" ] || { echo "the lock is still there"; return 1; }
}
running() { # until the run in the directory has made some steps
  until [ -s "$1/metrics.jsonl" ]; do sleep 0.05; done
}
signalled() { # signalled SIGNAL STATUS STATE WORDS: a run of one process
  memclip pretrain.nml --set "run.directory=$1" $long >out 2>&1 &
  pid=$!
  running "$1"
  kill -"$1" $pid
  wait $pid
  stopped $? "$1" "$2" "$3" "$4"
}
requeue="at a time limit or signal; start again to go on"
ok "SIGUSR1" signalled USR1 75 requeue "$requeue"
ok "SIGTERM" signalled TERM 75 requeue "$requeue"
ok "SIGINT" signalled INT 76 stopped "by the user"
mask() { # of the signals 1 to 16, in a thread's status
  echo $((0x$(sed -n "s/^$1.*\(....\)$/\1/p" "$2")))
}
uninterrupted() { # SIGINT, SIGUSR1 and SIGTERM: caught by none, blocked in all but the one that waits for them
  memclip pretrain.nml --set run.directory=threads $long >out 2>&1 &
  pid=$! wrong=0
  running threads
  for thread in /proc/$pid/task/*; do
    [ $(($(mask SigCgt "$thread/status") & 0x4202)) = 0 ] || wrong=1
    [ $(($(mask SigBlk "$thread/status") & 0x4202)) = $((0x4202)) ] || [ "$(cat "$thread/comm")" = signals ] || wrong=1
  done
  kill -TERM $pid
  wait $pid
  [ $wrong = 0 ]
}
ok "no thread is interrupted by these signals" uninterrupted
stop_file() {
  memclip pretrain.nml --set run.directory=file $long >out 2>&1 &
  pid=$!
  running file
  touch file/STOP
  wait $pid
  stopped $? file 76 stopped "by the user" && [ ! -e file/STOP ]
}
ok "the file STOP, which is removed" stop_file
limit() { # half a minute is kept for the checkpoint
  memclip pretrain.nml --set run.directory=limit $long --set run.time_limit_minutes=0.52 >out 2>&1
  stopped $? limit 75 requeue "$requeue"
}
ok "a time limit" limit
job_end() {
  SLURM_JOB_END_TIME=$(($(date +%s) + 32)) memclip pretrain.nml --set run.directory=job $long >out 2>&1
  stopped $? job 75 requeue "$requeue"
}
ok "the end of the job, as Slurm tells it" job_end
both() { # mpirun passes SIGUSR1 on, to all ranks
  mpirun -n 2 memclip pretrain.nml --set run.directory=both $long >out 2>&1 &
  pid=$!
  running both
  kill -USR1 $pid
  wait $pid
  stopped - both 75 requeue "$requeue"
}
ok "SIGUSR1 on two ranks" both
one() { # whichever rank hears of it
  mpirun -n 1 memclip pretrain.nml --set run.directory=one $long : -n 1 sh -c \
    'echo $$ >rank1.pid; exec memclip pretrain.nml --set run.directory=one '"$long" >out 2>&1 &
  pid=$!
  running one
  kill -TERM "$(cat rank1.pid)"
  wait $pid
  stopped - one 75 requeue "$requeue"
}
ok "SIGTERM to the second rank alone" one
again() { # stopped twice, then to the end: the uninterrupted run
  memclip pretrain.nml --set run.directory=whole && for try in 1 2; do
    mkdir -p twice && touch twice/STOP && memclip pretrain.nml --set run.directory=twice
  done
  memclip pretrain.nml --set run.directory=twice &&
    compare_checkpoints whole/checkpoints/latest.h5 twice/checkpoints/latest.h5 0
}
ok "stopped and started again it is the same run" again
progress() { # a terminal's line: step, loss, rate, time left, waiting
  script -qec "memclip pretrain.nml --set run.directory=terminal --set optim.epochs=20 --set \
validation.every_epochs=0" /dev/null </dev/null >screen 2>&1 &&
    tr '\r' '\n' <screen | grep -Eq \
      'step [0-9]+/320 \([0-9]+ %\)  loss [0-9.]+  [0-9]+ samples/s  waiting [0-9]+ %  [0-9].* left'
}
if command -v script >/dev/null; then ok "the progress line on a terminal" progress; else skip \
  "the progress line on a terminal" "no program script"; fi
columns() { # log.txt: every line of the table as wide as its head, one head at the beginning and after 40 lines
  awk '/^ *step +epoch/ { width = length($0); heads++ }
    /^ *[0-9]+ +[0-9]+\.[0-9]+ / { lines++; if (length($0) != width) exit 1 }
    END { exit !(heads == int((lines + 39) / 40) && lines == 80) }' terminal/log.txt
}
[ -d terminal ] && ok "the columns of log.txt" columns
finish
