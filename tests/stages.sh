#!/bin/sh
# All stages from end to end on two ranks, on real tars, JPEGs and HDF5 files.
. "${top_srcdir:-.}/tests/world.sh"
write_input pretrain pretrain.nml
echo "&model config='$world/model.json' /" >>pretrain.nml
write_input distill distill.nml
cat >>distill.nml <<END
&teacher weights='pretrain/checkpoints/latest.h5' /
&memory layers=0,1 n_keys=5 heads=2 knn=3 k_dim=16 v_dim=24 init='meta' /
END
write_input finetune finetune.nml
cat >>finetune.nml <<END
&model weights='distill/checkpoints/latest.h5' /
&loss long_weight=0.8 short_weight=0.2 /
END
cat >eval.nml <<END
&run stage='eval' directory='eval' precision='fp32' threads=1 /
&teacher weights='pretrain/checkpoints/latest.h5' /
&data val='$world/test-000000.tar' vocabulary='$world/vocabulary.bpe.gz' /
&eval datasets='val','val-short' batch_size=10
      checkpoints='pretrain/checkpoints/latest.h5','finetune/checkpoints/latest.h5' labels='teacher','student' /
END
run() { mpirun -n 2 memclip "$@"; }
ok "check prints a plan and changes nothing" sh -c \
  'memclip pretrain.nml --check | grep -q "global batch" && [ ! -e pretrain ]'
for stage in pretrain distill finetune eval; do
  ok "$stage" run $stage.nml
done
ok "status.json says done" grep -q '"state": *"done"' finetune/status.json
ok "losses are finite and reported" sh -c 'grep -c "train/loss" pretrain/metrics.jsonl | grep -qv "^0"'
ok "validation is reported" grep -q 'val/similarity_mean' distill/metrics.jsonl
ok "the same input again says that it is complete" sh -c 'mpirun -n 2 memclip finetune.nml 2>&1 | grep -q complete'
ok "results hold the thesis's keys" grep -q 'retrieval_val_text_to_image_R@1' eval/results.json
ok "features are kept" test -f eval/features/val.student.h5
ok "h5dump reads a checkpoint" sh -c \
  'h5dump -n 1 finetune/checkpoints/latest.h5 | grep -q "/model/visual/transformer/resblocks/0/mlp/keys"'
ok "another number of ranks gives the same evaluation" sh -c '
  mpirun -n 1 memclip eval.nml --set run.directory=eval1 >/dev/null &&
    compare_results eval/results.json eval1/results.json'
finish
