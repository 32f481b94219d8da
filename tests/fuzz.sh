#!/bin/sh
# Every fuzz target on its seeds, on the inputs that once were trouble, and on mutations of both, the same at every run.
# `make fuzz` does it in earnest.
builddir=${builddir:-.}
source=${top_srcdir:-.}
: "${FUZZ_MUTATIONS:=2000}"
targets="tar index csv captions image text vocabulary namelist config safetensors torch pickle checkpoint"
work=$(mktemp -d) || exit 99
trap 'rm -rf "$work"' EXIT
ASAN_OPTIONS=$ASAN_OPTIONS:abort_on_error=1:allocator_may_return_null=1
UBSAN_OPTIONS=halt_on_error=1:abort_on_error=1
export ASAN_OPTIONS UBSAN_OPTIONS
echo "1..$(echo $targets | wc -w)"
"$builddir/tests/fuzz/make_seeds" "$work/seeds" || { echo 'Bail out! no seeds'; exit 1; }
number=0
for target in $targets; do
  number=$((number + 1))
  folders="$work/seeds/$target"
  [ ! -d "$source/tests/fuzz/corpus/$target" ] || folders="$folders $source/tests/fuzz/corpus/$target"
  if "$builddir/tests/fuzz/fuzz_$target" "$FUZZ_MUTATIONS" $folders >"$work/$target.out" 2>&1; then
    echo "ok $number - $target"
  else
    sed 's/^/# /' "$work/$target.out" | tail -n 30
    echo "# the input is in crash-fuzz_$target"
    echo "not ok $number - $target"
  fi
done
