#!/bin/sh
# The conformance test on a GPU under each tool of compute-sanitizer. Kernels of cuBLASLt and of CUB's sort are not
# looked at: some of their shared-memory exchanges are taken for races, and they read what nobody wrote where it does
# not matter. Nor are errors that calls of CUDA return: libraries ask for functions that a driver may lack, and the
# program checks its own. TEST_CONFORMANCE names another build of the test.
. "${top_srcdir:-.}/tests/cuda_module.sh"
sanitizer=${COMPUTE_SANITIZER:-$(command -v compute-sanitizer ||
  ls "${CUDA_HOME:-/usr/local/cuda}/bin/compute-sanitizer" 2>/dev/null)}
[ -n "$sanitizer" ] || { echo "1..0 # SKIP no compute-sanitizer (set COMPUTE_SANITIZER)"; exit 0; }
number=0
exclude='regex=.*(cutlass|nvjet|cublas|gemm|gemv|splitK|DeviceRadixSort).*'
for tool in memcheck racecheck initcheck synccheck; do
  number=$((number + 1))
  options=
  [ $tool = initcheck ] && options=--uninitialized
  output=$("$sanitizer" --tool $tool --error-exitcode 99 --report-api-errors no --kernel-name-exclude "$exclude" \
    "${TEST_CONFORMANCE:-tests/test_conformance}" cuda --rounds 2 $options 2>&1)
  status=$?
  if [ $status = 0 ]; then
    echo "ok $number - $tool"
  else
    printf '%s\n' "$output" | grep -v '^ok' | head -n 40 | sed 's/^/# /'
    echo "not ok $number - $tool"
  fi
done
echo "1..$number"
