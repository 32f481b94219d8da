#!/bin/sh
# make fuzz: every target in turn under libFuzzer, FUZZ_SECONDS (60) each on one core; FUZZ_TARGETS chooses. What it
# learns stays in fuzz-corpus/TARGET of the build folder, what it finds in fuzz-corpus/TARGET.crash-...
builddir=${builddir:-.}
source=${top_srcdir:-.}
: "${FUZZ_SECONDS:=60}" \
  "${FUZZ_TARGETS:=tar index csv captions image text vocabulary namelist config safetensors torch pickle checkpoint}"
"$builddir/tests/fuzz/make_seeds" "$builddir/fuzz-seeds" || exit 1
status=0
for target in $FUZZ_TARGETS; do
  corpus=$builddir/fuzz-corpus/$target
  kept=$source/tests/fuzz/corpus/$target
  mkdir -p "$corpus"
  [ -d "$kept" ] || kept=
  echo "== $target, $FUZZ_SECONDS s"
  "$builddir/tests/fuzz/fuzz_$target" -max_total_time="$FUZZ_SECONDS" -max_len=16384 -timeout=10 -rss_limit_mb=2048 \
    -malloc_limit_mb=512 -print_final_stats=1 -artifact_prefix="$builddir/fuzz-corpus/$target." "$corpus" \
    "$builddir/fuzz-seeds/$target" $kept >"$builddir/fuzz-corpus/$target.log" 2>&1 || status=1
  grep -E 'stat::(number_of_executed_units|new_units_added)|SUMMARY|ERROR' "$builddir/fuzz-corpus/$target.log"
done
exit $status
