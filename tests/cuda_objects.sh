#!/bin/sh
# What the compiler made of the CUDA kernels, for each architecture: no local memory in kernels that must be fast,
# tensor-core instructions where meant, no float atomics anywhere. Needs the built module and cuobjdump.
module=${builddir:-$PWD}/memclip_cuda.so
cuobjdump=${CUOBJDUMP:-$(command -v cuobjdump || ls "${CUDA_HOME:-/usr/local/cuda}/bin/cuobjdump" 2>/dev/null)}
[ -f "$module" ] || { echo "1..0 # SKIP the CUDA module is not built (configure --with-cuda)"; exit 0; }
[ -n "$cuobjdump" ] || { echo "1..0 # SKIP no cuobjdump (set CUOBJDUMP)"; exit 0; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
number=0
result() { # result DESCRIPTION FILE: passes when the file is empty
  number=$((number + 1))
  if [ -s "$2" ]; then
    head -n 20 "$2" | sed 's/^/# /'
    echo "not ok $number - $1"
  else
    echo "ok $number - $1"
  fi
}
"$cuobjdump" -sass "$module" >"$work/sass" 2>"$work/err" ||
  { sed 's/^/# /' "$work/err"; echo "1..1"; echo "not ok 1 - cuobjdump"; exit 0; }
# Function by function: architecture, name, and how often each kind of instruction occurs. The radix sort is CUB's own.
awk '
  function flush() { if (name != "") print arch, name, hmma, ldsm, ldgsts, wide, local_, atomic, narrow }
  /arch = / { flush(); name = ""; arch = $3 }
  /Function : / { flush(); name = $3; hmma = ldsm = ldgsts = wide = local_ = atomic = narrow = 0 }
  / HMMA/ { hmma++ } / LDSM/ { ldsm++ } / LDGSTS/ { ldgsts++ } /LDG\.E\.128/ { wide++ } /STG\.E\.U16/ { narrow++ }
  / (LDL|STL)/ { local_++ } / (RED|ATOM|ATOMG)[.A-Z0-9]*\.F(16|32|64|TZ)/ { atomic++ }
  END { flush() }' "$work/sass" | grep -v 'cub[0-9]*_\|3cub' >"$work/table"
awk '$7 > 0 { print $1, $2, $7, "local-memory accesses" }' "$work/table" >"$work/bad"
result "no kernel uses local memory" "$work/bad"
awk '$8 > 0 { print $1, $2 }' "$work/table" >"$work/bad"
result "no float atomics" "$work/bad"
awk '$2 ~ /tensor_(forward|query|key|bag_s)/ {
    seen++; if (!$3 || !$4 || !$5) print $1, $2, "HMMA", $3, "LDSM", $4, "LDGSTS", $5
  }
  END { if (!seen) print "no such kernel" }' "$work/table" >"$work/bad"
result "attention and small memory tables use tensor cores, ldmatrix and asynchronous copies" "$work/bad"
awk '$2 ~ /norm_(gradients_)?in_registers|adamw_step|(bag_sum|bag_dot)I.Li8/ { seen++; if (!$6) print $1, $2 }
  END { if (!seen) print "no such kernel" }' \
  "$work/table" >"$work/bad"
result "layer norm, AdamW and the memory's reads load 16 bytes at a time" "$work/bad"
awk '$2 ~ /tLi[48]E/ { seen++; if ($9) print $1, $2, $9 } END { if (!seen) print "no such kernel" }' \
  "$work/table" >"$work/bad"
result "kernels that move vectors store no single bf16" "$work/bad"
echo "1..$number"
