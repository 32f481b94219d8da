#!/bin/sh
# The ways in which ranks with emulated CUDA devices bring their numbers together: through the host where they share a
# device, by MPI in the devices' memory, by the devices themselves. They add in the same order: equal bits.
. "${top_srcdir:-.}/tests/world.sh"
MEMCLIP_CUDA_MODULE=$builddir/memclip_cuda_emulated.so MEMCLIP_EMULATION_REVERSE=0
[ -f "$MEMCLIP_CUDA_MODULE" ] || {
  echo "1..0 # SKIP no C++ compiler: the CUDA kernels are not built for the host"
  exit 0
}
export MEMCLIP_CUDA_MODULE MEMCLIP_EMULATION_REVERSE
write_input pretrain pretrain.nml
echo "&model config='$world/model.json' /" >>pretrain.nml
# run DIRECTORY WORDS [options]: four steps on two ranks, which says how it sums
run() {
  run_directory=$1 run_words=$2
  shift 2
  mpirun -n 2 memclip pretrain.nml --set run.device=cuda --set run.directory="$run_directory" \
    --set data.batch_size=4 --set optim.accumulation=2 --set data.samples_per_epoch=64 \
    --set validation.every_epochs=0 "$@" >"$run_directory.txt" 2>&1
  run_status=$?
  grep -q "$run_words" "$run_directory.txt" && return $run_status
  cat "$run_directory.txt"
  return 1
}
same() { compare_checkpoints "$1/checkpoints/latest.h5" "$2/checkpoints/latest.h5" 0; }
MEMCLIP_EMULATION_COLLECTIVES=shared
export MEMCLIP_EMULATION_COLLECTIVES
ok "two ranks that share a device" run staged "summed by MPI through the host's memory: several ranks"
unset MEMCLIP_EMULATION_COLLECTIVES
ok "all at the end of the step" run late "summed by MPI through the host's memory: the device has no" \
  --set debug.overlap=.false.
ok "with the same bits" same staged late
export MEMCLIP_COMM_DEVICES=1
ok "MPI that reaches the devices' memory" run reached "summed by MPI in the devices' memory: "
unset MEMCLIP_COMM_DEVICES
ok "with the same bits" same staged reached
export MEMCLIP_EMULATION_COLLECTIVES=1
ok "devices that sum and gather by themselves" run own "exchanged by the devices among themselves"
unset MEMCLIP_EMULATION_COLLECTIVES
ok "with the same bits" same staged own
export MEMCLIP_EMULATION_COLLECTIVES=partly
ok "where one rank cannot join none does" run partly "summed by MPI through the host's memory: .*one rank does not join"
unset MEMCLIP_EMULATION_COLLECTIVES
ok "with the same bits" same staged partly
finish
