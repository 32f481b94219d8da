#!/bin/sh
# The files that talk to CUDA's runtime, over a mock of it (tests/mock/): streams go on in orders that are drawn, one of
# them as late as events allow. Training must come to the bits of the emulated device, which has one order.
. "${top_srcdir:-.}/tests/world.sh"
mocked=$builddir/memclip_cuda_mocked.so emulated=$builddir/memclip_cuda_emulated.so
[ -f "$mocked" ] || { echo "1..0 # SKIP no C++ compiler: the CUDA kernels are not built for the host"; exit 0; }
export MEMCLIP_EMULATION_REVERSE=0
sed 's/"context_length": 77/"context_length": 16/' "$world/model.json" >model.json
write_input pretrain pretrain.nml
cat >>pretrain.nml <<END
&model config='model.json' patch_dropout=0.4 /
END
write_input distill distill.nml
cat >>distill.nml <<END
&teacher weights='pretrain/checkpoints/latest.h5' /
&memory layers=0,1 n_keys=5 heads=2 knn=3 k_dim=16 v_dim=24 init='meta' input_dropout=0.2 /
END
# run MODULE DIRECTORY RANKS STAGE: six steps of twelve samples
run() {
  MEMCLIP_CUDA_MODULE=$1 mpirun -n "$3" memclip "$4.nml" --set run.device=cuda --set run.directory="$2" \
    --set data.global_batch=12 --set data.batch_size=2 --set optim.max_steps=6 --set "data.val=" 2>&1
}
# same DIRECTORY RANKS STAGE: in three orders
same() {
  for MEMCLIP_MOCK_SEED in 3 4 5; do
    export MEMCLIP_MOCK_SEED
    run "$mocked" "$1.$MEMCLIP_MOCK_SEED" "$2" "$3" || return 1
    compare_checkpoints "$1.$MEMCLIP_MOCK_SEED/checkpoints/latest.h5" "$1/checkpoints/latest.h5" 0 || return 1
  done
}
run "$emulated" pretrain 1 pretrain >/dev/null
ok "contrastive, accumulated: the same bits in each order" same pretrain 1 pretrain
run "$emulated" distill 1 distill >/dev/null
ok "distillation, accumulated: the same bits in each order" same distill 1 distill
run "$emulated" two 2 distill >/dev/null
ok "two ranks, sums through the host: the same bits in each order" same two 2 distill
finish
