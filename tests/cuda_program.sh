#!/bin/sh
# The program itself on the emulated CUDA device: the same losses as on the CPU, on one rank and on two, and a
# checkpoint that goes from one device to the other.
. "${top_srcdir:-.}/tests/world.sh"
MEMCLIP_CUDA_MODULE=$builddir/memclip_cuda_emulated.so MEMCLIP_EMULATION_REVERSE=0
[ -f "$MEMCLIP_CUDA_MODULE" ] || {
  echo "1..0 # SKIP no C++ compiler: the CUDA kernels are not built for the host"
  exit 0
}
export MEMCLIP_CUDA_MODULE MEMCLIP_EMULATION_REVERSE
write_input pretrain short.nml
echo "&model config='$world/model.json' /" >>short.nml
write_input distill distill.nml
cat >>distill.nml <<END
&teacher weights='cuda/checkpoints/latest.h5' /
&memory layers=0,1 n_keys=5 heads=2 knn=3 k_dim=16 v_dim=24 init='meta' /
END
# run DEVICE DIRECTORY RANKS INPUT [options]
run() {
  run_device=$1 run_directory=$2 run_ranks=$3
  shift 3
  mpirun -n "$run_ranks" memclip "$@" --set run.device="$run_device" --set run.directory="$run_directory" \
    --set run.log_every=1 \
    --set data.batch_size=$((32 / run_ranks)) --set validation.every_epochs=0 2>&1
}
losses() {
  sed -n 's/.*"step":\([0-9]*\),.*"train\/loss":\([-0-9.e]*\),.*"train\/grad_norm":\([-0-9.e]*\),.*/\1 \2 \3/p' \
    "$1/metrics.jsonl"
}
same_losses() { # same_losses A B: at every step within 2e-5, relatively
  losses "$1" >a && losses "$2" >b
  paste -d' ' a b | awk '
    function near(x, y) { d = x - y; return d * d <= 4e-10 * y * y + 1e-12 }
    !near($2, $5) || !near($3, $6) { print; bad = 1 }
    END { exit bad || NR < 4 }'
}
run cpu cpu 1 short.nml >/dev/null
ok "a run on one rank" run cuda cuda 1 short.nml
ok "has the losses of the CPU" same_losses cuda cpu
ok "a run on two ranks" sh -c "$(cat <<END
mpirun -n 2 memclip short.nml --set run.device=cuda --set run.directory=two --set run.log_every=1 \
  --set data.batch_size=16 --set validation.every_epochs=0 2>&1 | tee two.txt; grep -q 'summed by MPI' two.txt
END
)"
ok "has them, too" same_losses two cpu
ok "distillation with a memory, from that checkpoint" run cuda distill_cuda 1 distill.nml
run cpu distill_cpu 1 distill.nml >/dev/null
ok "has the losses of the CPU" same_losses distill_cuda distill_cpu
MEMCLIP_CUDA_MODULE=
ok "a missing device is exit status 3" exits 3 memclip short.nml --set run.device=cuda --set run.directory=none
finish
