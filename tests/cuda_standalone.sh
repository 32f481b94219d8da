#!/bin/sh
# The stand-alone programs (cuda/standalone.mk) with the emulated device in place of CUDA's: they build from a C and a
# C++ compiler alone and do what they do on a GPU. The kernels are those that were built for the other tests.
builddir=${builddir:-$PWD} top=${top_srcdir:-.}
[ -f "$builddir/memclip_cuda_emulated.so" ] || {
  echo "1..0 # SKIP no C++ compiler: the CUDA kernels are not built for the host"
  exit 0
}
case $top in /*) ;; *) top=$PWD/$top ;; esac
folder=$builddir/standalone
mkdir -p "$folder/cuda" "$folder/tests/emulation"
for place in cuda tests/emulation; do
  for object in "$builddir/$place"/*.emulated.o; do ln -sf "$object" "$folder/$place"; done
done
number=0
ok() { # ok DESCRIPTION COMMAND...
  number=$((number + 1))
  description=$1
  shift
  if output=$("$@" 2>&1); then echo "ok $number - $description"; return; fi
  printf '%s\n' "$output" | tail -n 20 | sed 's/^/# /'
  echo "not ok $number - $description"
}
standalone() { (cd "$top" && make -s -j2 -f cuda/standalone.mk EMULATE=1 BUILD="$folder" CFLAGS=-O1 "$@"); }
export MEMCLIP_EMULATION_REVERSE=0
unset MAKEFLAGS MFLAGS MAKELEVEL
ok "they build" standalone all
ok "conformance" "$folder/cuda-conformance" cuda --rounds 1
ok "models" "$folder/cuda-models" cuda memory
ok "bench" "$folder/cuda-bench" --tiny 'step forward'
ok "another device is refused" sh -c "'$folder/cuda-conformance' other | grep -q \"Bail out! device 'other'\""
echo "1..$number"
rm -rf "$folder"
