# Sourced by the scripts that run the program: a tiny world, a vocabulary and a model, made once per build; TAP helpers;
# the environment of launches.
set -u
builddir=${builddir:-$PWD}
case "$top_srcdir" in /*) ;; *) top_srcdir=$PWD/$top_srcdir ;; esac
PATH=$builddir:$builddir/tests:$top_srcdir/tests:$PATH
work=$builddir/tests/$(basename "$0" .sh).work
world=$builddir/tests/world
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive HDF5_USE_FILE_LOCKING=FALSE
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export OMPI_MCA_hwloc_base_binding_policy=none OMPI_MCA_btl_vader_single_copy_mechanism=none
unset SLURM_JOB_ID SLURM_STEP_ID SLURM_JOB_END_TIME

make_world() {
  until mkdir "$world.lock" 2>/dev/null; do sleep 0.2; done
  if [ ! -f "$world/ready" ]; then
    rm -rf "$world"
    memclip-scenes --out "$world" --splits train:256,val:48,test:48 --samples-per-shard 64 --size 32 --seed 5 \
      >/dev/null &&
      memclip-vocab train --size 700 --out "$world/vocabulary.bpe.gz" "$world/captions.txt" >/dev/null &&
      cat >"$world/model.json" <<END && touch "$world/ready"
{"embed_dim": 32, "quick_gelu": false,
 "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 32, "layers": 2, "head_width": 16},
 "text_cfg": {"context_length": 77, "vocab_size": 700, "width": 32, "heads": 2, "layers": 2}}
END
  fi
  rmdir "$world.lock"
  [ -f "$world/ready" ]
}

# write_input STAGE FILE: an input for the tiny world; more groups are appended by the caller, keys changed with --set.
write_input() {
  cat >"$2" <<END
&run stage='$1' directory='$1' seed=3 log_every=4 precision='fp32' threads=1 /
&data train='$world/train-{000000..000003}.tar' val='$world/val-000000.tar' vocabulary='$world/vocabulary.bpe.gz'
      batch_size=16 augment='crop' loader_threads=1 /
&optim lr=1e-3 warmup_steps=2 epochs=1 /
END
}

number=0
failures=0
ok() { # ok DESCRIPTION COMMAND...: one test; its output is shown when it fails
  number=$((number + 1))
  description=$1
  shift
  if output=$("$@" 2>&1); then
    echo "ok $number - $description"
  else
    echo "not ok $number - $description"
    printf '%s\n' "$output" | tail -n 15 | sed 's/^/# /'
    failures=$((failures + 1))
  fi
}
skip() { # skip DESCRIPTION REASON
  number=$((number + 1))
  echo "ok $number - $1 # SKIP $2"
}
finish() { echo "1..$number"; [ "$failures" = 0 ] && rm -rf "$work"; exit 0; }
exits() { # exits STATUS COMMAND...
  wanted=$1
  shift
  "$@"
  status=$?
  [ "$status" = "$wanted" ] || { echo "exit status $status instead of $wanted"; return 1; }
}

[ -x "$builddir/memclip-scenes" ] || { echo "1..0 # SKIP memclip-scenes is not built (no cairo)"; exit 0; }
rm -rf "$work"
mkdir -p "$work"
cd "$work" || exit 1
make_world || { echo "1..1"; echo "not ok 1 - the tiny world could not be made"; exit 0; }
