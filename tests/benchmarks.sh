#!/bin/sh
# Retrieval evaluation of published benchmarks: layouts as distributed, with drawn images; any number of ranks; several
# weights and text towers in one run; interruption; what is written.
. "${top_srcdir:-.}/tests/world.sh"
make_models() { # teacher/ and student/, made once per build and shared with no one
  write_input pretrain pretrain.nml
  echo "&model config='$world/model.json' /" >>pretrain.nml
  write_input distill distill.nml
  cat >>distill.nml <<END
&teacher weights='pretrain/checkpoints/latest.h5' /
&memory layers=0,1 n_keys=5 heads=2 knn=3 k_dim=16 v_dim=24 init='meta' /
END
  write_input finetune finetune.nml
  echo "&model weights='distill/checkpoints/latest.h5' /" >>finetune.nml
  for stage in pretrain distill finetune; do mpirun -n 2 memclip $stage.nml >/dev/null 2>&1 || return 1; done
}
names() { seq -f "$1" "$2" "$3" | tr '\n' ' '; }
draw() { folder=$1; shift; printf '%s\n' "$@" | draw_images "$folder"; }
# entries FORMAT FIRST LAST: annotations of FLAIR's form, two captions an image, one of them empty or long
entries() {
  printf '{"annotations": ['
  comma=
  for i in $(seq "$2" "$3"); do
    image=$(printf "$1" "$i")
    printf '%s{"image_id": %d, "image": "%s", "caption": "A %s picture"}' "$comma" "$i" "$image" "$i"
    printf ', {"image_id": %d, "image": "%s", "caption": "%s"}' "$i" "$image" "$(test $((i % 3)) = 0 && seq -s ' ' 100)"
    comma=,
  done
  printf ']}'
}
make_sets() {
  mkdir -p data/coco/annotations data/urban1k/annotations data/docci/annotations data/iiw data/flickr30k \
    data/sharegpt4v data/dci/densely_captioned_images/annotations
  python='{"images": [%s], "annotations": [%s]}'
  images= captions=
  for i in 30 20 10; do images="$images${images:+,}{\"id\": $i, \"file_name\": \"$i.jpg\"}"; done
  for c in 1 2 3 4 5 6; do
    for i in 10 20 30; do captions="$captions${captions:+,}{\"image_id\": $i, \"caption\": \"$i number $c\"}"; done
  done
  printf "$python" "$images" "$captions" >data/coco/annotations/captions_val2017.json
  draw data/coco/images/val2017 10.jpg 20.jpg 30.jpg
  entries '%d.jpg' 1 21 >data/urban1k/annotations/annotations.json
  draw data/urban1k/images $(names %g.jpg 1 21)
  entries 'test_%05d.jpg' 0 9 >data/docci/annotations/test_annotations.json
  draw data/docci/images $(names test_%05g.jpg 0 9)
  entries 'docci/%d.jpg' 0 5 >data/iiw/test_annotations.json
  draw data/iiw $(names docci/%g.jpg 0 5)
  echo '[{"image": "flickr30k-images/1.jpg", "caption": ["a", "b", "a"]},
    {"image": "flickr30k-images/2.jpg", "caption": ["c"]}]' >data/flickr30k/flickr30k_val.json
  draw data flickr30k-images/1.jpg flickr30k-images/2.jpg
  echo '[{"image": "sam/images/sa_1.jpg", "conversations": [{}, {"value": "One. Two."}]}]' \
    >data/sharegpt4v/share4v_sam_10k.json
  draw data/sharegpt4v sam/sa_1.jpg
  echo '{"train": ["a.json"], "valid": [], "test": ["b.json"]}' >data/dci/densely_captioned_images/splits.json
  for n in a b; do
    echo "{\"image\": \"sa_$n.jpg\", \"short_caption\": \"Short $n.\", \"extra_caption\": \"Extra.\"}" \
      >data/dci/densely_captioned_images/annotations/$n.json
  done
  draw data/dci/densely_captioned_images/photos sa_a.jpg
  echo sa_b.jpg | draw_images data/dci/densely_captioned_images/photos 13400 # 180 megapixels
}
ok "models" make_models
ok "data sets" make_sets
cat >eval.nml <<END
&run stage='eval' directory='eval' precision='fp32' threads=1 /
&teacher weights='pretrain/checkpoints/latest.h5' /
&data vocabulary='$world/vocabulary.bpe.gz' val='$world/val-000000.tar' /
&eval root='data' batch_size=4 text='own','teacher' datasets='coco','flickr30k','iiw','docci','urban1k',
      'sharegpt4v-1k','val'
      checkpoints='pretrain/checkpoints/latest.h5','distill/checkpoints/latest.h5','finetune/checkpoints/latest.h5'
      labels='teacher','student','finetuned' memory_usage=.true. /
END
evaluate() { ranks=$1; name=$2; shift 2; mpirun -n "$ranks" memclip eval.nml --set "run.directory='$name'" "$@"; }
same_results() { # the results of runs, and their features and usage counts to the bit
  compare_results "$1/results.json" "$2/results.json" || return 1
  for file in "$1"/features/*.h5 "$1"/usage/*.h5; do h5diff "$file" "$2/${file#*/}" || return 1; done
}
ok "all sets, three models, two text towers on 2 ranks" evaluate 2 eval
ok "on 1 rank the same" sh -c 'mpirun -n 1 memclip eval.nml --set "run.directory='"'one'"'"'
ok "its results, features and counts are equal" same_results eval one
ok "on 3 ranks the same" sh -c 'mpirun -n 3 memclip eval.nml --set "run.directory='"'three'"'"'
ok "its results, features and counts are equal" same_results eval three
has() { grep -q -- "$1" "$2" || { echo "'$1' is not in $2"; return 1; }; }
keys() {
  for label in teacher student student-teacher-text finetuned finetuned-teacher-text; do
    for set in coco flickr iiw docci urban_1k sharegpt4v-1k val; do
      for key in text_to_image_R@1 image_to_text_R@10 text_to_image_mean_rank image_to_text_median_rank \
        num_text_samples num_image_samples text_to_image_R@5_low \
        image_to_text_mean_rank_high; do
        has "\"$label.retrieval_${set}_$key\": [0-9]" eval/results.json || return 1
      done
    done
  done
  ! grep -q 'teacher-teacher-text' eval/results.json
}
ok "the thesis's keys for every label and set, with intervals" keys
ok "counts that differ from the published ones are told" has 'coco: 18 captions, the published files have 25014' \
  eval/log.txt
ok "the protocol's choice is told" has 'protocol flair: every caption' eval/results.txt
ok "cut captions are counted" has '"student.retrieval_urban_1k_truncated_texts": 7' eval/results.json
ok "results by length are there" has '"student.retrieval_urban_1k_text_to_image_R@1_truncated_count": 7' \
  eval/results.json
ok "hard negatives and groups of drawn scenes" has '"student.retrieval_val_negative_accuracy": 0' eval/results.json
ok "a frozen text tower is the teacher's" sh -c \
  'h5diff eval/features/coco.student.h5 eval/features/coco.student-teacher-text.h5 /text/features'
other_texts() {
  ! h5diff eval/features/coco.finetuned.h5 eval/features/coco.finetuned-teacher-text.h5 /text/features >/dev/null
}
ok "a trained one is not" other_texts
ok "usage is counted for students" sh -c '[ -f eval/usage/coco.student.h5 ] && [ ! -e eval/usage/coco.teacher.h5 ]'
usage() { # all slots that 5 x 5 keys have; the same checkpoint does not differ from itself, another one does
  memclip-usage eval/usage/coco.student.h5 >out && has '25 slots a block' out &&
    memclip-usage --json --against eval/usage/coco.student.h5 eval/usage/coco.student.h5 >out &&
      has '"churn": 0.0' out && has '"value_drift": 0.0' out &&
    memclip-usage --json --against eval/usage/coco.student.h5 eval/usage/coco.finetuned.h5 >out &&
      has '"churn": 0' out && ! grep -q '"value_drift": 0.0,' out
}
ok "memclip-usage" usage
tulip() {
  evaluate 2 tulip --set "eval.protocol='tulip'" --set "eval.datasets='coco'" --set "eval.root='data/coco'" &&
    has '"student.retrieval_coco_num_text_samples": 15' tulip/results.json
}
ok "TULIP's protocol takes five captions an image" tulip
big() {
  evaluate 2 big --set "eval.datasets='dci'" --set "eval.checkpoints='distill/checkpoints/latest.h5'" \
    --set "eval.labels='s'" && has 'bad_images": 0' big/results.json
}
ok "DCI with an image above decoders' usual limits" big

leak() {
  mkdir -p leaky/annotations
  sed 's/"2.jpg"/"train00000001.jpg"/g' data/urban1k/annotations/annotations.json >leaky/annotations/annotations.json
  draw leaky/images train00000001.jpg $(names %g.jpg 1 21)
  evaluate 1 leak --set "eval.datasets='urban1k'" --set "eval.root='leaky'" \
    --set "data.train='$world/train-{000000..000003}.tar'" &&
    has '"student.retrieval_urban_1k_images_in_training": 1' leak/results.json &&
      has '1 of its 21 images occur in the training data' leak/log.txt
}
ok "test images among the training data are reported" leak
npy() {
  evaluate 2 npy --set "eval.datasets='coco'" --set eval.save_npy=.true. --set "eval.text='own'" &&
    [ "$(wc -c <npy/npy/coco.student/text_emb/text_emb_0.npy)" = $((128 + 18 * 32 * 4)) ] &&
      has "(18, 32)" npy/npy/coco.student/text_emb/text_emb_0.npy &&
    [ "$(wc -l <npy/npy/coco.student/metadata/metadata_0.csv)" = 19 ]
}
ok "clip-retrieval's layout on request" npy
csv() {
  printf 'filepath\ttitle\n%s\n' "data/urban1k/images/1.jpg	first" >set.csv
  cp data/urban1k/images/1.jpg data/urban1k/images/copy.jpg
  for i in 1 2 3 4 5 6 7 8 9; do printf 'data/urban1k/images/%d.jpg\tnumber %d\n' $i $i; done >>set.csv
  printf 'data/urban1k/images/copy.jpg\tfirst\n' >>set.csv
  evaluate 2 csv --set "eval.datasets='csv'" --set "data.val='set.csv'" --set "eval.text='own'" &&
    has '"student.retrieval_csv_num_image_samples": 10' csv/results.json || return 1
  h5dump -d /image/features -w 0 csv/features/csv.student.h5 |
    awk '/\(0,0\)/ {first = $0} /\(9,0\)/ {last = $0} # at other places of their batches
    END {sub(/.*\): /, "", first); sub(/.*\): /, "", last); sub(/,$/, "", first); exit first == "" || first != last}'
}
ok "a csv of several captions an image; equal images have equal features" csv
interrupted() { # stopped in mid-run, then started again: what is finished is not done twice, and the end is the same
  mpirun -n 1 memclip eval.nml --set "run.directory='stop'" >/dev/null 2>&1 &
  pid=$!
  while kill -0 $pid 2>/dev/null && [ "$(wc -l 2>/dev/null <stop/evaluation.jsonl || echo 0)" -lt 3 ]; do
    sleep 0.05
  done
  touch stop/STOP
  wait $pid
  rm -f stop/STOP # in case it had finished before
  mpirun -n 2 memclip eval.nml --set "run.directory='stop'" >out 2>&1 && has 'were finished by an earlier start' out &&
    compare_results stop/results.json eval/results.json
}
ok "an interrupted evaluation goes on behind the last finished set" interrupted
cut_record() {
  head -c -30 stop/evaluation.jsonl >x && mv x stop/evaluation.jsonl && evaluate 1 stop &&
    compare_results stop/results.json eval/results.json
}
ok "a half-written record is done again" cut_record

refused() { # refused WORDS [arguments]: exit 1 and the words once
  words=$1
  shift
  memclip eval.nml --set "run.directory='refused'" "$@" >out 2>&1
  [ $? = 1 ] && [ "$(grep -c -- "$words" out)" = 1 ] || { cat out; return 1; }
}
ok "a folder without the set" refused 'annotations/captions_val2017.json' --set "eval.coco_root='data/docci'"
ok "a missing image" sh -c \
  'rm data/coco/images/val2017/20.jpg; memclip eval.nml --set "run.directory='"'refused'"'" 2>&1 |
    grep -q "1 of the 3 images.*20.jpg"'
ok "a data set that is not known" refused "sharegpt4v" --set "eval.datasets='sharegpt4v'"
ok "TULIP has no DOCCI" refused "no docci" --set "eval.datasets='docci'" --set "eval.protocol='tulip'"
ok "two models of one label" refused "eval.labels" --set "eval.labels='a','a','b'"
finish
