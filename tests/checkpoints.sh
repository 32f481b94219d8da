#!/bin/sh
# Checkpoints and what becomes of them: archived and best ones, early stopping over restarts, branches with what they
# start anew, damaged and misshapen files, a full disk, and status.json throughout.
. "${top_srcdir:-.}/tests/world.sh"
write_input pretrain pretrain.nml
sed -i '/^&optim/d' pretrain.nml
cat >>pretrain.nml <<END
&model config='$world/model.json' /
&optim lr=1e-3 warmup_steps=2 epochs=4 accumulation=2 /
END
run() { directory=$1; shift; memclip pretrain.nml --set "run.directory=$directory" "$@"; }
of_status() { sed -n "s/.*\"$2\": *\"*\([^\",]*\)\"*,*/\1/p" "$1/status.json"; }
status_is() { # status_is DIRECTORY STATE EXIT STEP CHECKPOINT
  found="$(of_status "$1" state) $(of_status "$1" exit) $(of_status "$1" step) $(of_status "$1" checkpoint)"
  [ "$found" = "$2 $3 $4 $5" ] || { echo "status.json of $1 says $found"; return 1; }
}
number_in() { h5dump -d "$2" "$1" | sed -n 's/.*(0): //p' | head -n 1; }
same() { compare_checkpoints "$1" "$2" "$3"; }

ok "a whole run" run whole --set checkpoint.keep=2 --set checkpoint.archive_epochs=1,3
ok "status.json names the newest complete checkpoint" status_is whole done 0 32 checkpoints/step_0000032.h5
kept() {
  [ "$(cd whole/checkpoints && echo step_*)" = "step_0000024.h5 step_0000032.h5" ] &&
    [ "$(cd whole/checkpoints/archive && echo *)" = "step_0000008.h5 step_0000024.h5" ]
}
ok "the newest two are kept, archived epochs for good" kept
ok "latest.h5 is a relative link" test "$(readlink whole/checkpoints/latest.h5)" = step_0000032.h5
best() {
  [ "$(number_in whole/checkpoints/best.h5 /progress/step)" = \
    "$(number_in whole/checkpoints/step_0000032.h5 /progress/best_step)" ]
}
ok "best.h5 is the best validation's" best
ok "started again it is complete" sh -c \
  "memclip pretrain.nml --set run.directory=whole 2>&1 | grep -q 'this run is complete: 32 of 32 steps'"
ok "and says so" status_is whole done 0 32 checkpoints/step_0000032.h5

unread() {
  run unread 2>&1 | head -n 1 && status_is unread done 0 32 checkpoints/step_0000032.h5
}
ok "a run outlives the reader of its output" unread

# Early stopping: no validation is 10 better than the first, so two waits end the run at the third.
early="--set early_stop.patience=2 --set early_stop.min_delta=10 --set validation.every_steps=4"
early="$early --set checkpoint.every_steps=4"
early_stop() {
  run early $early 2>&1 | grep -q 'stopped early: val/R@1_mean has not improved for 2 validations' &&
    status_is early done 0 12 checkpoints/step_0000012.h5
}
ok "early stopping" early_stop
early_resumed() { # the wait counted before the restart counts after it
  run early2 $early --set optim.max_steps=8 &&
    [ "$(number_in early2/checkpoints/latest.h5 /progress/validations_without_gain)" = 1 ] &&
    run early2 $early 2>&1 | grep -q 'stopped early' && status_is early2 done 0 12 checkpoints/step_0000012.h5
}
ok "its state outlives a restart" early_resumed
ok "a run that stopped early is complete" sh -c \
  "memclip pretrain.nml --set run.directory=early $early 2>&1 | grep -q 'this run is complete: 12 of 32'"

source=whole/checkpoints/archive/step_0000008.h5
branch() { name=$1; shift; run "$name" --set "run.resume=$source" "$@"; }
ok "a branch with nothing anew" branch plain
ok "is the run that it left, to the bit" same whole/checkpoints/latest.h5 plain/checkpoints/latest.h5 0
ok "and has its own metrics" sh -c \
  '! grep -q "\"step\":4," plain/metrics.jsonl && grep -q "\"step\":12," plain/metrics.jsonl'
resets() { # resets WORDS STEP EPOCH UPDATES: of a branch stopped after one step
  branch "reset$number" ${1:+--set "run.resume_reset=$1"} --set checkpoint.every_steps=1 --set optim.max_steps=$2 \
    --set data.global_batch=${5:-32} || return 1
  file=$(ls "reset$number"/checkpoints/step_*.h5 | tail -n 1)
  found="$(number_in "$file" /progress/step) $(number_in "$file" /loader/epoch) $(number_in "$file" /progress/updates)"
  [ "$found" = "$2 $3 $4" ] || { echo "step, epoch and updates are $found"; return 1; }
}
ok "schedule anew" resets schedule 3 1 11
ok "data anew" resets data 9 0 9
ok "optimizer anew" resets optimizer 9 1 1
ok "all anew" resets data,schedule,optimizer 3 0 3
ok "data anew may take another global batch" resets data 9 0 9 64
refused() { # refused STATUS WORDS COMMAND...
  wanted=$1 words=$2
  shift 2
  "$@" >out 2>&1
  status=$?
  [ "$status" = "$wanted" ] || { echo "exit status $status instead of $wanted"; cat out; return 1; }
  [ "$(grep -c -- "$words" out)" = 1 ] || { echo "'$words' is not there exactly once:"; cat out; return 1; }
}
ok "another global batch without that is refused" refused 1 'data.global_batch = 32' branch b1 \
  --set data.global_batch=64
ok "a branch from nowhere" refused 1 'none.h5 does not exist' run b2 --set run.resume=none.h5
ok "a branch from a file that is no checkpoint" refused 1 'is not an HDF5 file' run b3 --set run.resume=pretrain.nml
ok "resume_reset without a branch" refused 1 "needs run.resume" run b4 --set run.resume_reset=data
ok "resume_reset of something else" refused 1 "takes data, schedule and optimizer" branch b5 \
  --set run.resume_reset=moments
ok "resume='no' where checkpoints are" refused 1 "holds checkpoints or results" run whole --set run.resume=no

prepare() {
  rm -rf "$1" && mkdir -p "$1/checkpoints" && cp whole/input.nml whole/used.nml whole/metrics.jsonl "$1" &&
    cp whole/checkpoints/step_0000024.h5 "$1/checkpoints/"
}
goes_on() { # goes_on DIRECTORY WORDS: passes over step 32 with the words, goes on from step 24 to the same bits
  run "$1" >out 2>&1 || { cat out; return 1; }
  grep -q "step_0000032.h5.*passed over: .*$2" out && grep -q "going on from .*step_0000024.h5 at step 24" out &&
    same whole/checkpoints/step_0000032.h5 "$1/checkpoints/step_0000032.h5" 0 &&
      [ "$(grep -c '"step":28,.*train/loss' "$1/metrics.jsonl")" = 1 ]
}
newest=whole/checkpoints/step_0000032.h5
damaged() {
  prepare damaged && cp $newest damaged/checkpoints/ && printf '\252\125' |
    dd of=damaged/checkpoints/step_0000032.h5 bs=1 seek=$(($(wc -c <$newest) / 2)) conv=notrunc 2>/dev/null &&
    goes_on damaged damaged
}
ok "a flipped byte: the checkpoint before is used" damaged
cut() { prepare cut && head -c 100000 $newest >cut/checkpoints/step_0000032.h5 && goes_on cut 'damaged or cut short'; }
ok "a file cut short" cut
empty() { prepare empty && : >empty/checkpoints/step_0000032.h5 && goes_on empty 'not an HDF5 file'; }
ok "an empty file" empty
edited() { # edited ACTION NAME WORDS
  prepare "$1" && edit_checkpoint $newest "$1/checkpoints/step_0000032.h5" "$1" "$2" && goes_on "$1" "$3"
}
ok "a wrong shape" edited shape model/visual.proj 'visual.proj has shape'
ok "a moment that is missing" edited drop optimizer/exp_avg.visual.proj 'no such dataset'
all_misfit() { # the model's JSON changed: nothing fits, and nothing is overwritten
  prepare misfit && sed 's/"embed_dim": 32/"embed_dim": 48/' "$world/model.json" >model.json &&
    sed "s|$world/model.json|model.json|" pretrain.nml >misfit.nml &&
    sed -i "s|$world/model.json|$PWD/model.json|" misfit/used.nml && sum=$(cksum misfit/checkpoints/step_0000024.h5) &&
    refused 1 'belong to another configuration' memclip misfit.nml --set run.directory=misfit &&
      [ "$sum" = "$(cksum misfit/checkpoints/step_0000024.h5)" ]
}
ok "no checkpoint fits: refused, nothing lost" all_misfit

limited() { # the command with files of at most 150 kB, once MPI has made its own
  "$@" &
  pid=$!
  until grep -q running full/status.json 2>/dev/null; do sleep 0.02; done
  prlimit --pid $pid --fsize=150000 || return 1
  wait $pid
}
full() { # room for reports, none for a checkpoint: the one before stays
  prepare full && refused 3 'File too large' limited memclip pretrain.nml --set run.directory=full &&
    status_is full failed 3 32 checkpoints/step_0000024.h5 && [ "$(ls -A full/checkpoints)" = step_0000024.h5 ]
}
ok "a checkpoint that cannot be written: status 3, the one before stays" full
ok "and with room again it goes on from there" run full
ok "to the same bits" same whole/checkpoints/step_0000032.h5 full/checkpoints/step_0000032.h5 0
failed_start() { # a start that failed before its first checkpoint does not stand in the way of the mended input
  run first --set model.activation=quickgelu --set "data.vocabulary=none.gz"
  run first --set optim.max_steps=3
}
ok "a failed first start does not block the next" failed_start
finish
