#!/bin/sh
# The Python blocks of doc/reading-results.md run on our files, and memclip-wandb forwards a run, where the packages are
# there (MEMCLIP_PYTHON names another interpreter).
. "${top_srcdir:-.}/tests/world.sh"
python=${MEMCLIP_PYTHON:-python3}
write_input pretrain run.nml
echo "&model config='$world/model.json' /" >>run.nml
cat >distill.nml <<END
&run stage='distill' directory='student' precision='fp32' threads=1 /
&teacher weights='run/checkpoints/latest.h5' /
&memory layers=1 n_keys=5 heads=2 knn=3 k_dim=16 v_dim=24 init='meta' /
&data train='$world/train-{000000..000003}.tar' batch_size=16 loader_threads=1 /
&optim max_steps=2 /
END
cat >eval.nml <<END
&run stage='eval' directory='eval' precision='fp32' threads=1 /
&model weights='student/checkpoints/latest.h5' /
&data val='$world/val-000000.tar' vocabulary='$world/vocabulary.bpe.gz' /
&eval save_npy=.true. memory_usage=.true. /
END
ok "a run and an evaluation" sh -c \
  "memclip run.nml --set \"run.directory='run'\" && memclip distill.nml && memclip eval.nml"
awk -v n=0 '/^```python/ {n++; on = 1; next} /^```/ {on = 0} on {print >("block" n ".py")}' \
  "$top_srcdir/doc/reading-results.md"
for block in block*.py; do
  title="doc/reading-results.md: $(sed -n 's/^import //p; s/^from \([a-z0-9]*\).*/\1/p' "$block" | head -n 1), $block"
  if grep -E '^(import|from)' "$block" >imports.py && "$python" imports.py 2>/dev/null; then
    ok "$title" "$python" "$block"
  else
    number=$((number + 1))
    echo "ok $number - $title # SKIP its packages are not there"
  fi
done
forward() {
  cp -r run forwarded && chmod -R a-w forwarded/metrics.jsonl &&
    "$python" "$top_srcdir/postproc/memclip-wandb" --offline forwarded >out 2>&1 &&
      grep -Eq '^[1-9][0-9]* reports forwarded' out && ls forwarded/wandb/wandb/offline-run-* >/dev/null ||
      { cat out; return 1; }
  cmp run/metrics.jsonl forwarded/metrics.jsonl
}
if "$python" -c 'import wandb' 2>/dev/null; then
  ok "memclip-wandb forwards offline" forward
  follow() { # a run that is still writing: the half-written line is waited for
    mkdir live && head -c 300 run/metrics.jsonl >live/metrics.jsonl && echo '{"state": "running"}' >live/status.json
    "$python" "$top_srcdir/postproc/memclip-wandb" --offline --follow --interval 0.1 live >out 2>&1 &
    pid=$!
    sleep 1
    tail -c +301 run/metrics.jsonl >>live/metrics.jsonl
    echo '{"state": "done"}' >live/status.json
    wait $pid && grep -q "^$(wc -l <run/metrics.jsonl) reports forwarded" out || { cat out; return 1; }
  }
  ok "memclip-wandb follows a run" follow
else
  number=$((number + 1))
  echo "ok $number - memclip-wandb # SKIP the package wandb is not there"
fi
if command -v "$python" >/dev/null; then
  ok "a directory without a run is refused" sh -c \
    "'$python' '$top_srcdir/postproc/memclip-wandb' $world 2>&1 | grep -q metrics.jsonl"
fi
finish
