#!/bin/sh
# The plan of memory against the device's: a run that cannot fit ends before its first step, says what it needs, what is
# there and what to change, and exits with 1. On the CPU and on the emulated CUDA device, whose size is a variable.
. "${top_srcdir:-.}/tests/world.sh"
write_input pretrain pretrain.nml
echo "&model config='$world/model.json' /" >>pretrain.nml
plan() { memclip pretrain.nml --check "$@" 2>&1; }
told() { plan | grep -q '^device memory .* of .* GiB free, shared by 1 rank$'; }
ok "--check tells the free memory" told
refused() { # refused COMMAND...: exit status 1 with the message
  exits 1 "$@" >refused.txt || { cat refused.txt; return 1; }
  grep -q 'needs at least .* GiB of device memory .* are free. Lower data.batch_size' refused.txt
}
huge="--set data.batch_size=1048576 --set optim.accumulation=1000 --set data.samples_per_epoch=2000000000
  --set optim.warmup_steps=0"
ok "a batch that no processor's memory holds is refused by --check" refused plan $huge
start() {
  memclip pretrain.nml --set "run.directory='started'" "$@" 2>&1
  status=$?
  grep -q '"step": *0' started/status.json && return $status
}
ok "and at the start of a run" refused start $huge
MEMCLIP_CUDA_MODULE=$builddir/memclip_cuda_emulated.so
[ -f "$MEMCLIP_CUDA_MODULE" ] || {
  skip "on the emulated device" "no C++ compiler: the CUDA kernels are not built for the host"
  finish
}
export MEMCLIP_CUDA_MODULE
need=$(plan --set run.device=cuda --set data.batch_size=128 --set optim.warmup_steps=0 |
  sed -n 's/^memory of a rank *\([0-9.]*\) GiB.*/\1/p')
bytes() { awk -v gib="$need" -v times="$1" 'BEGIN { printf "%.0f", (gib + 0.005) * times * 1024 * 1024 * 1024 }'; }
on_gpu() { # on_gpu RANKS SIZE
  MEMCLIP_EMULATION_MEMORY=$2 mpirun -n "$1" memclip pretrain.nml --check --set run.device=cuda \
    --set data.batch_size=128 --set optim.warmup_steps=0 2>&1
}
ok "one rank fits in what it needs" on_gpu 1 "$(bytes 1.5)"
ok "not in half of it" refused on_gpu 1 "$(bytes 0.5)"
ok "two ranks that share the device do not" refused on_gpu 2 "$(bytes 1.5)"
export MEMCLIP_EMULATION_COLLECTIVES=1
ok "two ranks with a device each do" on_gpu 2 "$(bytes 1.5)"
finish
