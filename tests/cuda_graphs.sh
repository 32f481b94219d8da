#!/bin/sh
# Steps on a CUDA device that records its passes and repeats them by itself, against steps that go through every call:
# the same bits, and a host that waits once in a step and allocates nothing in it. The device is the emulated one, or
# that of the module that CUDA_MODULE names (make check-gpu).
. "${top_srcdir:-.}/tests/world.sh"
. "$top_srcdir/tests/cuda_module.sh"
export MEMCLIP_EMULATION_REVERSE=0
sed 's/"context_length": 77/"context_length": 16/' "$world/model.json" >model.json
write_input pretrain pretrain.nml
cat >>pretrain.nml <<END
&model config='model.json' patch_dropout=0.4 /
&loss long_weight=0.7 short_weight=0.3 /
END
write_input distill distill.nml
cat >>distill.nml <<END
&model patch_dropout=0.4 /
&teacher weights='pretrain/checkpoints/latest.h5' /
&memory layers=0,1 n_keys=5 heads=2 knn=3 k_dim=16 v_dim=24 init='meta' input_dropout=0.2 query_dropout=0.1
        value_dropout=0.3 /
END
write_input finetune finetune.nml
cat >>finetune.nml <<END
&model weights='distill/checkpoints/latest.h5' train='all' /
END
# run DIRECTORY RANKS STAGE [options]: fourteen steps of twelve samples
run() {
  run_directory=$1 run_ranks=$2 run_stage=$3
  shift 3
  mpirun -n "$run_ranks" memclip "$run_stage.nml" --set run.device=cuda --set run.directory="$run_directory" \
    --set run.log_every=2 --set data.global_batch=12 --set optim.max_steps=14 --set "data.val=" "$@" 2>&1
}
value() { # value DIRECTORY NAME: of the last report
  grep 'train/loss' "$1/metrics.jsonl" | tail -n 1 | sed -n "s|.*\"train/$2\":\([-0-9.e+]*\).*|\1|p"
}
same_weights() {
  compare_checkpoints "$1/checkpoints/latest.h5" "$2/checkpoints/latest.h5" 0
}
# None on the device; none on the host after the first report, which has the loader's first pictures and captions.
none_allocated() {
  grep '"train/device_allocations":[1-9]' "$1/metrics.jsonl" && return 1
  sed -n 's/.*"train\/allocations":\([0-9]*\).*/\1/p' "$1/metrics.jsonl" |
    awk 'NR > 1 { sum += $1 } END { print NR, "reports", sum + 0, "allocations"; exit NR < 7 || sum > 0 }'
}
# replayed DIRECTORY REPLAYS: so many in each of the last steps, and one wait; a GPU may be slower with an upload, three
# micro-batches' at most, than the host is with what comes before the next
replayed() {
  [ "$(value "$1" device_replays)" = "$2" ] &&
    awk -v waits="$(value "$1" device_waits)" -v most="${CUDA_MODULE:+4}" \
      'BEGIN { exit !(waits >= 1 && waits <= (most ? most : 1)) }' || {
    grep 'train/loss' "$1/metrics.jsonl" | tail -n 1
    return 1
  }
}
give_products() { # give_products FROM TO: a GPU chooses by timing
  mkdir -p "$2" && cp "$1/products.txt" "$2"
}
both() { # both STAGE RANKS BATCH REPLAYS DIRECTORY [options]
  both_stage=$1 both_ranks=$2 both_batch=$3 both_replays=$4 both_directory=$5
  shift 5
  ok "$both_directory: with graphs" run "$both_directory" "$both_ranks" "$both_stage" \
    --set data.batch_size="$both_batch" "$@"
  give_products "$both_directory" "$both_directory.plain"
  ok "$both_directory: without" run "$both_directory.plain" "$both_ranks" "$both_stage" \
    --set data.batch_size="$both_batch" --set debug.graphs=.false. "$@"
  ok "$both_directory: the same bits" same_weights "$both_directory" "$both_directory.plain"
  ok "$both_directory: no step allocates" none_allocated "$both_directory"
  [ "$both_ranks" = 1 ] || return 0
  ok "$both_directory: each pass repeats, one wait" replayed "$both_directory" "$both_replays.0"
  ok "$both_directory: without graphs, the same" replayed "$both_directory.plain" 0.0
}
# replays: towers' passes, two parts of the loss for each text, the optimiser
both pretrain 1 6 23 pretrain
resumed() {
  mkdir -p resumed && cp pretrain/products.txt resumed && touch resumed/STOP
  run resumed 1 pretrain --set data.batch_size=6
  grep -q '"exit": *76' resumed/status.json && run resumed 1 pretrain --set data.batch_size=6 "$@" &&
    same_weights resumed pretrain
}
ok "pretrain: stopped, gone on without graphs: the same bits" resumed --set debug.graphs=.false.
both distill 1 12 3 distill
both distill 1 4 7 distill_accumulated
if [ -z "${CUDA_MODULE:-}" ]; then
  short_of_memory() {
    MEMCLIP_EMULATION_MEMORY=200000000 run distill_short 1 distill --set data.batch_size=12
    replayed distill_short 0.0 && same_weights distill_short distill
  }
  ok "where the device's memory is short nothing is recorded" short_of_memory
fi
both distill 2 3 0 distill_two
both finetune 1 12 7 finetune
ok "fine-tuning on two ranks, accumulated: with graphs" run two 2 finetune --set data.batch_size=3
give_products two two.plain
ok "without" run two.plain 2 finetune --set data.batch_size=3 --set debug.graphs=.false.
ok "the same bits" same_weights two two.plain
ok "no step allocates" none_allocated two
finish
