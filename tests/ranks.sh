#!/bin/sh
# 1, 2 and 4 ranks, and accumulation, give the same training: the same samples, the same gradients up to the order of
# additions. Bound: 2e-5 of a weight's size after 16 steps in fp32.
. "${top_srcdir:-.}/tests/world.sh"
bound=2e-5
write_input pretrain pretrain.nml
cat >>pretrain.nml <<END
&model config='$world/model.json' /
&loss long_weight=0.7 short_weight=0.3 /
&checkpoint every_epochs=1 /
END
write_input distill distill.nml
cat >>distill.nml <<END
&teacher weights='pretrain1/checkpoints/latest.h5' /
&memory layers=1 n_keys=5 heads=2 knn=3 k_dim=16 v_dim=24 init='meta' /
END
train() { # train STAGE NAME RANKS BATCH ACCUMULATION [more]
  stage=$1 name=$2 ranks=$3 batch=$4 accumulation=$5
  shift 5
  mpirun -n "$ranks" memclip $stage.nml --set "run.directory='$name'" --set data.batch_size="$batch" \
    --set optim.accumulation="$accumulation" "$@"
}
same() { compare_checkpoints "$1/checkpoints/latest.h5" "$2/checkpoints/latest.h5" "$3"; }
# Adam hides the size of a gradient, its moments do not: a scale of logits trained with the gradient of each micro-batch
# would show here.
same_scale() {
  compare_checkpoints "$1/checkpoints/latest.h5" "$2/checkpoints/latest.h5" 1e-3 optimizer/exp_avg/logit_scale
}
for stage in pretrain distill; do
  ok "$stage on 1 rank" train $stage ${stage}1 1 16 1
  ok "$stage on 2 ranks" train $stage ${stage}2 2 8 1
  ok "$stage on 2 ranks is that on 1" same ${stage}1 ${stage}2 $bound
  ok "$stage on 4 ranks" train $stage ${stage}4 4 4 1
  ok "$stage on 4 ranks is that on 1" same ${stage}1 ${stage}4 $bound
  ok "$stage with 4 accumulated micro-batches on 2 ranks" train $stage ${stage}a 2 2 4
  ok "accumulation is the big batch" same ${stage}1 ${stage}a $bound
  for saving in pooled_last_block crop_text share_prefix skip_frozen overlap; do
    case $stage.$saving in pretrain.share_prefix | distill.crop_text) continue ;; esac
    ok "$stage without $saving" train $stage $stage.$saving 2 8 1 --set debug.$saving=.false.
    ok "is the same" same ${stage}2 $stage.$saving $bound
  done
  ok "$stage without any saving" train $stage ${stage}p 2 8 1 --set debug.pooled_last_block=.false. \
    --set debug.crop_text=.false. --set debug.share_prefix=.false. \
    --set debug.skip_frozen=.false. --set debug.overlap=.false.
  ok "the savings change nothing" same ${stage}2 ${stage}p $bound
  ok "$stage again" train $stage ${stage}r 2 8 1
  ok "the same run gives the same bits" same ${stage}2 ${stage}r 0
done
ok "the gradient of logit_scale on 4 ranks" same_scale pretrain1 pretrain4
ok "the gradient of logit_scale over accumulated micro-batches" same_scale pretrain1 pretraina
finish
