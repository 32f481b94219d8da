#!/bin/sh
# The device conformance test once more under each instruction set that this processor has.
test -x tests/test_conformance || { echo "1..0 # SKIP tests/test_conformance is not built"; exit 0; }
number=0
for isa in generic avx2 avx512 avx512bf16; do
  number=$((number + 1))
  output=$(MEMCLIP_ISA=$isa tests/test_conformance cpu 2>&1)
  status=$?
  case $output in
  1..0*) echo "ok $number - $isa # SKIP not on this processor" ;;
  *)
    if test $status -eq 0; then
      echo "ok $number - $isa"
    else
      echo "$output" | sed 's/^/# /'
      echo "not ok $number - $isa"
    fi
    ;;
  esac
done
echo "1..$number"
