#!/bin/sh
# What the training stages promise beyond the loss: learning, freezing, early stopping, what is kept, the teacher's
# cache, recomputation.
. "${top_srcdir:-.}/tests/world.sh"
write_input pretrain pretrain.nml
echo "&model config='$world/model.json' /" >>pretrain.nml
write_input distill distill.nml
cat >>distill.nml <<END
&teacher weights='pretrain/checkpoints/latest.h5' /
&memory layers=1 n_keys=5 heads=2 knn=3 k_dim=16 v_dim=24 init='meta' /
END
write_input finetune finetune.nml
echo "&model weights='distill/checkpoints/latest.h5' /" >>finetune.nml
run() { # run STAGE NAME [--set KEY=VALUE]...: on one rank
  stage=$1 name=$2
  shift 2
  memclip "$stage.nml" --set "run.directory='$name'" "$@"
}
latest() { echo "$1/checkpoints/latest.h5"; }
same() { compare_checkpoints "$(latest "$1")" "$(latest "$2")" "$3"; }
value() { # value NAME KEY: the last one in the run's metrics
  sed -n "s|.*\"$2\": *\([-0-9.eE+]*\).*|\1|p" "$1/metrics.jsonl" | tail -n 1
}
fails_with() { # fails_with STATUS WORDS COMMAND...
  wanted=$1 words=$2
  shift 2
  exits "$wanted" "$@" 2>&1 | tee output.txt
  grep -q "$words" output.txt && ! grep -q 'exit status' output.txt
}

ok "pretrain" run pretrain pretrain
ok "distill" run distill distill
ok "finetune" run finetune finetune

# ---- learning
overfit() {
  run pretrain overfit --set "data.train='$world/train-000000.tar'" --set "data.val='$world/train-000000.tar'" \
    --set data.augment=none --set data.batch_size=64 \
    --set optim.epochs=200 --set optim.lr=3e-3 --set optim.warmup_steps=10 --set optim.weight_decay=0 \
      --set validation.every_epochs=0 --set checkpoint.every_epochs=0
  echo "R@1 $(value overfit val/R@1_mean)"
  [ "$(value overfit val/image_to_text_R@1)" = 1.0 ] && [ "$(value overfit val/text_to_image_R@1)" = 1.0 ]
}
ok "200 steps learn 64 pairs by heart" overfit

# ---- what trains
only() { # only PATTERN START END: exactly the tensors whose names match have changed
  changed_tensors "$(latest "$2")" "$(latest "$3")" >changed.txt
  grep -E "$1" changed.txt >expected.txt
  cat changed.txt
  [ -s expected.txt ] && cmp -s changed.txt expected.txt
}
trains() { # trains WORDS PATTERN
  run finetune "train.$number" --set "model.train=$1" && only "$2" distill "train.$number"
}
ok "default trains all of it" trains default .
ok "finetune trains the scale of logits, too" grep -q '^logit_scale' changed.txt
ok "memory" trains memory '^visual\.transformer\.resblocks\.1\.mlp\.'
ok "text" trains text '^(positional_embedding|text_projection|transformer\.|token_embedding|ln_final)'
ok "vision" trains vision '^visual\.'
ok "vision:last1" trains vision:last1 '^visual\.(transformer\.resblocks\.1\.|ln_post|proj)'
ok "patterns" trains "'visual.proj','*.ln_2.*'" '^visual\.proj|\.ln_2\.'
ok "distill trains the memory alone" sh -c \
  'changed_tensors pretrain/checkpoints/latest.h5 distill/checkpoints/latest.h5 |
    grep -vE "^visual\.transformer\.resblocks\.1\.mlp\." | wc -l | grep -qx 0'
ok "a pattern that matches nothing is refused" fails_with 1 'resblocks.9' run finetune none \
  --set "model.train='visual.transformer.resblocks.9.*'"

# ---- early stopping, best.h5, archive
ok "no gain: stops after 'patience' validations" run pretrain patient --set optim.lr=0 --set optim.epochs=9 \
  --set early_stop.patience=2 --set early_stop.min_delta=0.001 \
  --set checkpoint.keep=1 --set checkpoint.archive_epochs=2
ok "the first validation and two more" sh -c 'grep -c val/R@1_mean patient/metrics.jsonl | grep -qx 3'
ok "and says so" grep -q 'stopped early: val/R@1_mean' patient/log.txt
ok "status is done" grep -q '"state": *"done"' patient/status.json
ok "the same input again is complete" sh -c \
  'memclip pretrain.nml --set "run.directory='\''patient'\''" --set optim.lr=0 --set optim.epochs=9 \
    --set early_stop.patience=2 --set early_stop.min_delta=0.001 --set checkpoint.keep=1 \
    --set checkpoint.archive_epochs=2 2>&1 | grep -q complete'
ok "best.h5 is the first epoch's, which pruning left" sh -c \
  'h5dump -d /progress/step patient/checkpoints/best.h5 | grep -q ": 16$"'
ok "the archived epoch is kept" sh -c 'ls patient/checkpoints/archive | grep -q 0000032'
ok "the others are pruned" sh -c '[ "$(ls patient/checkpoints | grep -c "step_.*h5")" = 1 ]'
ok "distill watches the similarity to the teacher" grep -q 'val/similarity_mean = .*best so far' distill/log.txt
ok "a metric by name, smaller is better" run pretrain watched --set "early_stop.metric='val/clip_loss'" \
  --set "early_stop.mode='min'" --set optim.epochs=2
ok "improves with learning" sh -c 'grep -c "val/clip_loss = .*best so far" watched/log.txt | grep -qx 2'

# ---- recomputation and patches
ok "gradient checkpointing" run finetune recomputed --set model.gradient_checkpointing=.true.
ok "gives the same bits" same finetune recomputed 0
ok "patch dropout" run pretrain dropped --set model.patch_dropout=0.5
ok "is another training" sh -c '! compare_checkpoints pretrain/checkpoints/latest.h5 dropped/checkpoints/latest.h5 1e-3'
ok "patch dropout on 2 ranks, accumulated" mpirun -n 2 memclip pretrain.nml --set "run.directory='dropped2'" \
  --set model.patch_dropout=0.5 --set data.batch_size=4 --set optim.accumulation=2
ok "drops the same patches" same dropped dropped2 2e-5

# ---- the teacher's cache
cached() { # cached NAME [--set ...]; CROP is none unless the caller says otherwise
  name=$1
  shift
  run distill "$name" --set "data.augment='${CROP:-none}'" --set "teacher.cache='features.cache'" "$@"
}
ok "distill without a crop" run distill uncached --set data.augment=none --set optim.epochs=2
ok "filling a cache" cached filling --set optim.epochs=2
ok "changes no bit" same uncached filling 0
ok "the second epoch reads it" grep -q 'teacher.cache: 256 of 512 features were there' filling/log.txt
ok "a second run" cached reading --set optim.epochs=2
ok "reads all of it" grep -q 'teacher.cache: 512 of 512 features were there' reading/log.txt
ok "to the same bits" same uncached reading 0
damage() {
  cp features.cache kept.cache && truncate -s 20000 features.cache && printf 'x' |
    dd of=features.cache bs=1 seek=5000 conv=notrunc 2>/dev/null
}
ok "cut off and damaged" damage
ok "it is filled again" cached mended --set optim.epochs=2
ok "to the same bits, still" same uncached mended 0
ok "the same teacher under another name" sh -c 'cp pretrain/checkpoints/latest.h5 copy.h5'
ok "fits" cached copied --set "teacher.weights='copy.h5'"
ok "another teacher under the same name" sh -c 'cp dropped/checkpoints/latest.h5 copy.h5'
ok "is refused" fails_with 1 'teacher.cache' cached other --set "teacher.weights='copy.h5'"
another_crop() { CROP=crop_fixed fails_with 1 'teacher.cache' cached cropped; }
ok "another transform is refused" another_crop
ok "another precision is refused" fails_with 1 'teacher.cache' cached rounded --set run.precision=bf16
ok "other data are refused" fails_with 1 'teacher.cache' cached fewer \
  --set "data.train='$world/train-{000000..000002}.tar'"
ok "a crop that changes is refused" fails_with 1 'crop_fixed' run distill moving --set "teacher.cache='other.cache'"
finish
