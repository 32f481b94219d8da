#!/bin/sh
# The program on a CUDA device against the program on the CPU: losses and weights of twenty steps of distillation and
# fine-tuning, one rank and two on one GPU, stopping and going on to the same bits, checkpoints that change the device
# both ways. The device is the emulated one, or that of the module that CUDA_MODULE names (make check-gpu).
. "${top_srcdir:-.}/tests/world.sh"
. "$top_srcdir/tests/cuda_module.sh"
export MEMCLIP_EMULATION_REVERSE=0 MEMCLIP_EMULATION_RANGES="$work/ranges.txt"
input() { # input STAGE FILE: twenty steps of eight samples; what is on stdin is appended
  write_input "$1" "$2"
  sed -i "s/log_every=4/log_every=1/; s/batch_size=16/global_batch=8 batch_size=8/; s/epochs=1 /max_steps=20 /" "$2"
  echo "&validation every_epochs=0 /" >>"$2"
  cat >>"$2"
}
input pretrain pretrain.nml <<END_OF_INPUT
&model config='$world/model.json' /
END_OF_INPUT
input distill distill.nml <<END_OF_INPUT
&teacher weights='pretrain/checkpoints/latest.h5' /
&memory layers=0,1 n_keys=5 heads=2 knn=3 k_dim=16 v_dim=24 init='meta' /
END_OF_INPUT
input finetune finetune.nml <<END_OF_INPUT
&model weights='distill_cuda/checkpoints/latest.h5' /
END_OF_INPUT
# run DEVICE DIRECTORY RANKS INPUT [options]
run() {
  run_device=$1 run_directory=$2 run_ranks=$3
  shift 3
  mpirun -n "$run_ranks" memclip "$@" --set run.device="$run_device" --set run.directory="$run_directory" \
    --set data.batch_size=$((8 / run_ranks)) 2>&1
}
losses() {
  sed -n 's/.*"step":\([0-9]*\),.*"train\/loss":\([-0-9.e]*\),.*"train\/grad_norm":\([-0-9.e]*\),.*/\1 \2 \3/p' \
    "$1/metrics.jsonl"
}
same_losses() { # same_losses A B BOUND: losses and gradient norms of each step differ by at most BOUND, relatively
  losses "$1" >a && losses "$2" >b
  paste -d' ' a b | awk -v bound="$3" '
    function near(x, y) { return x - y <= bound * y + 1e-6 && y - x <= bound * y + 1e-6 }
    $1 != $4 || !near($2, $5) || !near($3, $6) { print; bad = 1 }
    END { exit bad || NR != 20 }'
}
same_weights() { # same_weights A B BOUND
  compare_checkpoints "$1/checkpoints/latest.h5" "$2/checkpoints/latest.h5" "$3"
}
on_both() { # on_both STAGE LOSSES WEIGHTS: twenty steps on either device, alike within the two bounds
  run cpu "$1_cpu" 1 "$1.nml" >/dev/null
  ok "$1: twenty steps" run cuda "$1_cuda" 1 "$1.nml"
  ok "$1: losses and gradient norms are the CPU's within $2" same_losses "$1_cuda" "$1_cpu" "$2"
  ok "$1: weights are the CPU's within $3" same_weights "$1_cuda" "$1_cpu" "$3"
}
on_two_ranks() { # on_two_ranks STAGE LOSSES WEIGHTS
  run cuda "$1_two" 2 "$1.nml" >two.txt || return 1
  grep -q 'summed by MPI' two.txt || { cat two.txt; return 1; }
  same_losses "$1_two" "$1_cuda" "$2" && same_weights "$1_two" "$1_cuda" "$3"
}
# stop_and_go STAGE DIRECTORY FIRST SECOND: begun on device FIRST, finished on SECOND. A GPU chooses its products by
# timing: the run in one go gives it what it chose.
stop_and_go() {
  mkdir -p "$2" && touch "$2/STOP" && cp "$1_cuda/products.txt" "$2" || return 1
  run "$3" "$2" 1 "$1.nml"
  grep -q '"exit": *76' "$2/status.json" || { cat "$2/status.json"; return 1; }
  run "$4" "$2" 1 "$1.nml" && [ "$(losses "$2" | wc -l)" = 20 ]
}

none_allocated() { # on the host, after the first step, which has the loader's first pictures and captions
  grep '"train/device_allocations":[1-9]' "$1/metrics.jsonl" && return 1
  sed -n 's/.*"train\/allocations":\([0-9]*\).*/\1/p' "$1/metrics.jsonl" |
    awk 'NR > 1 && $1 { print "step", NR, $1; bad = 1 }
      END { exit bad || NR != 20 }'
}

run cpu pretrain 1 pretrain.nml >/dev/null # whose checkpoint the GPU takes
on_both distill 2e-5 1e-4
on_both finetune 2e-5 1e-4
ok "finetune: two ranks on one GPU do the same" on_two_ranks finetune 2e-5 1e-4
ok "distill: no step allocates" none_allocated distill_cuda
ok "finetune: no step allocates, whatever the captions' length" none_allocated finetune_cuda
ok "distill: stopped, gone on" stop_and_go distill resumed cuda cuda
ok "to the bits of the run in one go" same_weights resumed distill_cuda 0
ok "finetune: begun on the GPU, finished on the CPU" stop_and_go finetune to_cpu cuda cpu
ok "is the same training" same_weights to_cpu finetune_cpu 1e-4
ok "finetune: begun on the CPU, finished on the GPU" stop_and_go finetune to_gpu cpu cuda
ok "is the same training" same_weights to_gpu finetune_cpu 1e-4
half() {
  run cpu half_cpu 1 distill.nml --set "run.precision='bf16'" >/dev/null
  run cuda half_cuda 1 distill.nml --set "run.precision='bf16'" && same_losses half_cuda half_cpu 0.03
}
ok "distill in bf16: losses and gradient norms are the CPU's within 0.03" half
if [ -f ranges.txt ]; then # the emulation writes it
  named() {
    for name in step fetch 'forward teacher' 'forward student' 'forward texts' loss 'backward images' \
      'vision 1 memory' 'text 0 attention' reduce optimizer checkpoint; do
      grep -q "^ *$name\$" ranges.txt || { echo "no range '$name'"; return 1; }
    done
  }
  ok "the parts of a step are named for profilers" named
fi
MEMCLIP_CUDA_MODULE=$PWD/none.so # nor the installed one
ok "a missing device is exit status 3" exits 3 memclip distill.nml --set run.device=cuda --set run.directory=none
finish
