#!/bin/sh
# Inside a step nothing is allocated, whatever the length of its captions, with and without accumulation; and poisoned
# memory changes no bit.
. "${top_srcdir:-.}/tests/world.sh"
write_input pretrain pretrain.nml
cat >>pretrain.nml <<END
&model config='$world/model.json' /
&loss long_weight=0.7 short_weight=0.3 /
END
write_input distill distill.nml
cat >>distill.nml <<END
&teacher weights='pretrain/checkpoints/latest.h5' /
&memory layers=0,1 n_keys=5 heads=2 knn=3 k_dim=16 v_dim=24 gated=.true. /
END
run() { mpirun -n 2 memclip "$@" --set run.log_every=1 --set checkpoint.every_steps=3; }
# The allocations of step 2 and later: the loader's threads meet their first pictures and captions in the first.
allocations() {
  sed -n 's/.*"step": *\([0-9]*\).*"train\/allocations": *\([0-9]*\).*/\1 \2/p' "$1/metrics.jsonl" |
    awk '$1 > 1 { sum += $2; steps++ } END { print steps, sum + 0 }'
}
none_allocated() { set -- $(allocations "$1"); echo "$1 steps, $2 allocations"; [ "$1" -gt 8 ] && [ "$2" = 0 ]; }
for precision in fp32 bf16; do
  for stage in pretrain distill; do
    name=$stage.$precision
    ok "$stage in $precision" run $stage.nml --set run.directory=$name --set run.precision=$precision \
      --set data.batch_size=4
    ok "no step after the first allocates" none_allocated $name
    [ -e $stage ] || ln -s $name $stage
    ok "$name with poisoned memory" run $stage.nml --set run.directory=$name.poisoned --set run.precision=$precision \
      --set data.batch_size=4 --set debug.poison=.true.
    ok "ends with the same bits" compare_checkpoints $name/checkpoints/latest.h5 $name.poisoned/checkpoints/latest.h5 0
  done
done
for stage in pretrain distill; do
  ok "$stage, accumulated" run $stage.nml --set run.directory=$stage.two --set data.batch_size=2 \
    --set data.global_batch=8 --set optim.max_steps=12
  ok "no step after the first allocates" none_allocated $stage.two
done
cat >eval.nml <<END
&run stage='eval' directory='eval' precision='fp32' threads=1 /
&data val='$world/test-000000.tar' vocabulary='$world/vocabulary.bpe.gz' /
&eval datasets='val','val-short' batch_size=10 checkpoints='distill/checkpoints/latest.h5' labels='student' /
END
ok "eval" mpirun -n 2 memclip eval.nml
ok "eval with poisoned memory" mpirun -n 2 memclip eval.nml --set run.directory=eval.poisoned --set debug.poison=.true.
ok "measures the same" compare_results eval/results.json eval.poisoned/results.json
finish
