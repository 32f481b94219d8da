#!/bin/sh
# Submits inputs as jobs of which each waits for the one before:
# chain.sh [sbatch options --] pretrain.nml distill.nml finetune.nml eval.nml
set -eu
folder=$(cd "$(dirname "$0")" && pwd)
options=""
case " $* " in *" -- "*)
  while [ "$1" != -- ]; do options="$options $1"; shift; done
  shift ;;
esac
[ $# -gt 0 ] || { sed -n '2,3s/^# //p' "$0" >&2; exit 2; }
for input in "$@"; do [ -r "$input" ] || { echo "chain.sh: cannot read $input" >&2; exit 1; }; done
previous=""
for input in "$@"; do
  # shellcheck disable=SC2086
  previous=$(MEMCLIP_SLURM=$folder sbatch --parsable --export=ALL $options \
    ${previous:+--dependency=afterok:$previous --kill-on-invalid-dep=yes} "$folder/train.sbatch" "$input")
  echo "$input: job $previous"
done
