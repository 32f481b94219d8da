#!/bin/sh
# Choices of matrix products, on the emulated CUDA device, which here draws lots where a GPU would take the time: the
# bits of a run depend on them. Rank 0's are every rank's; a run that goes on, in its directory or from another one's
# checkpoint, takes them over; none is made inside a training step.
. "${top_srcdir:-.}/tests/world.sh"
MEMCLIP_CUDA_MODULE=$builddir/memclip_cuda_emulated.so MEMCLIP_EMULATION_REVERSE=0 MEMCLIP_EMULATION_CHOICES=random
[ -f "$MEMCLIP_CUDA_MODULE" ] || {
  echo "1..0 # SKIP no C++ compiler: the CUDA kernels are not built for the host"
  exit 0
}
export MEMCLIP_CUDA_MODULE MEMCLIP_EMULATION_REVERSE MEMCLIP_EMULATION_CHOICES
write_input pretrain pretrain.nml
echo "&model config='$world/model.json' /" >>pretrain.nml
# start DIRECTORY [options]: two ranks, four steps, the last one validates
start() {
  directory=$1
  shift
  mpirun -n 2 memclip pretrain.nml --set run.device=cuda --set run.directory="$directory" --set data.batch_size=8 \
    --set run.log_every=1 --set data.samples_per_epoch=64 --set loss.short_weight=0.5 "$@" 2>&1
}
same() { compare_checkpoints "$1/checkpoints/latest.h5" "$2/checkpoints/latest.h5" 0; }
differ() { ! same "$@"; }
stop_at_once() { # stop_at_once DIRECTORY [options]: after the first step, or the second
  mkdir -p "$1" && touch "$1/STOP"
  exits 76 start "$@"
}
ok "a run makes choices" start whole
ok "and writes them" grep -q '^[0-9]' whole/products.txt
none_in_a_step() {
  [ "$(grep -c '"train/new_products":0[,}.]' whole/metrics.jsonl)" = "$(grep -c '"train/loss"' whole/metrics.jsonl)" ]
}
ok "none of them inside a training step" none_in_a_step
ok "another run makes others" start other
ok "and has other bits" differ whole other
mkdir -p copied && cp whole/products.txt copied
ok "a run that is given them" start copied
ok "repeats the bits" same whole copied
mkdir -p stopped && cp whole/products.txt stopped
ok "a run that stops" stop_at_once stopped
rm -f stopped/products.txt
ok "goes on with those of its checkpoint" start stopped
ok "to the same bits" same whole stopped
mkdir -p early && cp whole/products.txt early
stop_at_once early >early.txt 2>&1
ok "a branch of it does, too" start branch --set "run.resume='early'"
ok "to the same bits" same whole branch
mkdir -p newer && cp whole/products.txt newer
newer() {
  MEMCLIP_EMULATION_LIBRARY=2 start newer | tee newer.txt
  grep -q 'products.txt: .*they are made anew' newer.txt && grep -q 'loops 2' newer/products.txt
}
ok "those of another library are left, with a message" newer
mkdir -p damaged && sed 's/^8 /8 x/; $s/.....$//' whole/products.txt >damaged/products.txt
damaged() {
  start damaged | tee damaged.txt
  grep -q 'products.txt: .*of no use' damaged.txt
}
ok "damaged lines are made anew" damaged
finish
