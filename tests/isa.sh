#!/bin/sh
# Whole models and a stage in bf16 under each instruction set that this processor has: where it lacks bf16 products,
# bf16 is storage only, and the log says so.
. "${top_srcdir:-.}/tests/world.sh"
write_input pretrain pretrain.nml
echo "&model config='$world/model.json' /" >>pretrain.nml
train() { memclip pretrain.nml --set "run.directory='$1'" --set run.precision="$2" --set optim.max_steps=8; }
warned() { grep -q 'bf16 is storage only' "$1/log.txt"; }
ok "pretrain in fp32" train fp32 fp32
for isa in generic avx2 avx512 avx512bf16; do
  export MEMCLIP_ISA=$isa
  if memclip pretrain.nml --check 2>&1 | grep -q 'MEMCLIP_ISA'; then
    echo "ok $((number += 1)) - $isa # SKIP not on this processor"
    continue
  fi
  [ ! -x "$builddir/tests/test_model" ] || ok "towers under $isa" test_model
  ok "pretrain in bf16 under $isa" train $isa bf16
  ok "is near that in fp32" compare_checkpoints fp32/checkpoints/latest.h5 $isa/checkpoints/latest.h5 0.1
  [ $isa = avx512bf16 ] || ok "and says that bf16 is storage only" warned $isa
done
finish
