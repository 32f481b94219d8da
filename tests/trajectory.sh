#!/bin/sh
# Five and six training steps against PyTorch's: accumulation 1 and 2, several ranks; the same weights in the end.
OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export OMPI_ALLOW_RUN_AS_ROOT OMPI_ALLOW_RUN_AS_ROOT_CONFIRM OMPI_MCA_rmaps_base_oversubscribe
case "$top_srcdir" in /*) ;; *) top_srcdir=$PWD/$top_srcdir && export top_srcdir ;; esac
count=0
run() { # ranks, accumulation, kind, folder, config, weights, numbers, activation
  ranks=$1 accumulation=$2
  shift 2
  count=$((count + 1))
  name="$count - $2 $5, $ranks ranks, accumulation $accumulation"
  words=$(mpirun --bind-to none -np "$ranks" tests/trajectory "$@" "$accumulation" 2>&1)
  case $? in
    0) echo "ok $name" ;;
    77) echo "ok $name # SKIP the reference numbers are not here" ;;
    *) echo "$words" | tail -n 5 | sed 's/^/# /' && echo "not ok $name" ;;
  esac
}
if ! command -v mpirun > /dev/null; then
  echo "1..0 # SKIP no mpirun"
  exit 0
fi
for layout in "1 1" "1 2" "2 1" "2 2" "4 1" "4 2"; do
  run $layout clip parity/clip open_clip_config.json weights.safetensors quickgelu_five_steps.safetensors quickgelu
  run $layout student parity/student config.json student.pt quickgelu.safetensors quickgelu
done
for layout in "1 1" "1 2" "2 1" "3 2" "6 1"; do # six pairs are not dealt to four ranks
  run $layout clip reference/clip_a open_clip_config.json weights.safetensors gelu_five_steps.safetensors gelu
  run $layout clip reference/clip_b open_clip_config.json weights.safetensors quickgelu_five_steps.safetensors quickgelu
  run $layout student reference/student config.json student_epoch_1.pt gelu.safetensors gelu
done
for act in gelu quickgelu; do
  run 1 2 student reference/student config.json student.safetensors $act.safetensors $act
done
run 2 1 clip reference/clip_a open_clip_config.json weights_train_checkpoint.pt quickgelu_five_steps.safetensors \
  quickgelu
run 2 1 clip reference/clip_b open_clip_config.json weights_state_dict.pt gelu_five_steps.safetensors gelu
echo "1..$count"
