#!/bin/sh
# Validation inside training is the evaluation of its checkpoint: the same features, ranks, similarities; the loss is
# that of the whole set, whatever the batch.
. "${top_srcdir:-.}/tests/world.sh"
write_input pretrain pretrain.nml
echo "&model config='$world/model.json' /" >>pretrain.nml
write_input distill distill.nml
cat >>distill.nml <<END
&teacher weights='pretrain/checkpoints/latest.h5' /
&memory layers=1 n_keys=5 heads=2 knn=3 k_dim=16 v_dim=24 init='meta' /
END
cat >eval.nml <<END
&run stage='eval' directory='eval' precision='fp32' threads=1 /
&teacher weights='pretrain/checkpoints/latest.h5' /
&data val='$world/val-000000.tar' vocabulary='$world/vocabulary.bpe.gz' /
&eval batch_size=10 checkpoints='pretrain/checkpoints/latest.h5','distill/checkpoints/latest.h5'
      labels='teacher','student' text='own' /
END
value() { sed -n "s|.*\"val/$2\": *\([-0-9.eE+]*\).*|\1|p" "$1/metrics.jsonl" | tail -n 1; }
near() { # near WHAT A B: equal within 1e-6 of their size
  echo "$1: '$2' and '$3'"
  [ -n "$2" ] && [ -n "$3" ] && awk "BEGIN { d = $2 - $3; s = $2 + $3; exit !(d * d <= 1e-12 * s * s + 1e-18) }"
}
result() { sed -n "s|.*\"$1.retrieval_val_$2\": *\([-0-9.eE+]*\).*|\1|p" eval/results.json; } # LABEL KEY
ok "pretrain" memclip pretrain.nml
ok "distill" mpirun -n 2 memclip distill.nml --set data.batch_size=8
ok "eval" mpirun -n 2 memclip eval.nml
features() {
  judge_features eval/features/val.teacher.h5 eval/features/val.student.h5 \
    "$(h5dump -d /model/logit_scale -m %.9g "$1/checkpoints/latest.h5" | sed -n 's/.*(0): *//p')" >judged.txt
  cat judged.txt
}
judged() { sed -n "s/^$1 //p" judged.txt; }
ok "features judged by plain sums" features pretrain
for key in image_to_text_R@1 image_to_text_R@5 image_to_text_R@10 image_to_text_mean_rank image_to_text_median_rank \
  text_to_image_R@1 text_to_image_R@5 text_to_image_R@10 text_to_image_mean_rank text_to_image_median_rank; do
  ok "pretrain's $key" near "$key" "$(value pretrain "$key")" "$(judged "teacher_$key")"
  ok "the teacher's, beside the student" near "$key" "$(value distill "teacher_$key")" "$(judged "teacher_$key")"
  ok "the student's, by the teacher's texts" near "$key" "$(value distill "$key")" "$(judged "student_$key")"
done
ok "the loss of all pairs" near loss "$(value pretrain clip_loss)" "$(judged teacher_clip_loss)"
ok "of the student" near loss "$(value distill clip_loss)" "$(judged student_clip_loss)"
ok "similarity to the teacher, mean" near similarity "$(value distill similarity_mean)" "$(judged similarity_mean)"
ok "median" near similarity "$(value distill similarity_median)" "$(judged similarity_median)"
ok "the distillation loss is 1 - similarity" near loss "$(value distill distill_loss)" \
  "$(awk "BEGIN { print 1 - $(value distill similarity_mean) }")"
ok "the monitored mean" near mean "$(value pretrain R@1_mean)" \
  "$(awk "BEGIN { print ($(value pretrain image_to_text_R@1) + $(value pretrain text_to_image_R@1)) / 2 }")"
ok "evaluation reports the same" near R@1 "$(value pretrain text_to_image_R@10)" "$(result teacher text_to_image_R@10)"
ok "another micro-batch" memclip pretrain.nml --set run.directory=small --set data.batch_size=4 \
  --set optim.accumulation=4 --set optim.lr=0
ok "and another" mpirun -n 2 memclip pretrain.nml --set run.directory=large --set data.batch_size=24 --set optim.lr=0
ok "have the same validation loss" near loss "$(value small clip_loss)" "$(value large clip_loss)"
ok "a student whose text tower trains" memclip distill.nml --set run.directory=both --set "model.train='memory','text'"
ok "is judged by its own texts, too" test -n "$(value both student_text_text_to_image_R@1)"
finish
