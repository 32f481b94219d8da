#!/bin/sh
# Every published recipe is checked to its end once what a user must supply is replaced by tiny things, and names what
# is missing before that.
. "${top_srcdir:-.}/tests/world.sh"
inputs=$top_srcdir/inputs
unset MEMCLIP_DATA

write_input pretrain pretrain.nml
echo "&model config='$world/model.json' /" >>pretrain.nml
ok "a tiny model to start from" memclip pretrain.nml --set optim.max_steps=2 --set optim.warmup_steps=1
weights=$PWD/pretrain/checkpoints/latest.h5
names() { # names WORD COMMAND...: fails with exit status 1 and says WORD
  word=$1
  shift
  exits 1 "$@" >said 2>&1 && grep -q -- "$word" said || { cat said; return 1; }
}
# check_recipe RECIPE [--set ...]: with tiny data, a tiny vocabulary and few samples; every other key as published.
check_recipe() {
  recipe=$1
  shift
  exits 0 memclip --check "$inputs/$recipe.nml" --set "data.train='$world/train-{000000..000003}.tar'" \
    --set "data.val='$world/val-000000.tar'" --set "data.vocabulary='$world/vocabulary.bpe.gz'" \
      --set data.batch_size=4 \
    --set optim.warmup_steps=1 "$@"
}
ok "clip-pretrain-b16" check_recipe clip-pretrain-b16 --set "model.config='$world/model.json'" \
  --set data.samples_per_epoch=4096
ok "thesis-contrastive" check_recipe thesis-contrastive --set "model.weights='$weights'" --set memory.layers=1
ok "thesis-distill" check_recipe thesis-distill --set "teacher.weights='$weights'" --set memory.layers=0,1
ok "thesis-finetune" check_recipe thesis-finetune --set "model.weights='$weights'"
for missing in clip-pretrain-b16:bpe_simple_vocab thesis-contrastive:openai-vit-b-16.h5 \
  thesis-distill:openai-vit-b-16.h5 \
  thesis-finetune:runs/thesis-distill/checkpoints/best.h5 eval-all:runs/thesis-finetune/checkpoints/best.h5; do
  ok "${missing%%:*} names ${missing#*:}" names "${missing#*:}" memclip --check "$inputs/${missing%%:*}.nml"
done
ok "eval-all names the data sets that are not there" names coco \
  memclip --check "$inputs/eval-all.nml" --set "model.weights='$weights'" --set "eval.root='$PWD/absent'" \
  --set "data.vocabulary='$world/vocabulary.bpe.gz'"
memclip --reference >reference.nml
ok "the reference input is read, but for what must be given" names "stage" memclip --check reference.nml
awk '/^&/ { group = substr($1, 2) } /^  [a-z_0-9]+ =/ { print group "." $1 }' reference.nml >keys.txt
groups=$(sed 's/\..*//' keys.txt | sort -u | paste -sd'|')
# exist FILE...: every word GROUP.KEY in them is a key, names of files such as model.json apart.
exist() {
  [ -n "$groups" ] && grep -ohE "(^|[^A-Za-z0-9_./-])($groups)\.[a-z_0-9]+" "$@" | sed 's/^[^a-z]//' | sort -u |
    grep -vE '\.(json|nml|safetensors|sh|md)$' >named.txt
  [ "$(wc -l <named.txt)" -gt 30 ] || { echo "only $(wc -l <named.txt) keys are named"; return 1; }
  ! grep -vxF -f keys.txt named.txt
}
ok "the documents name keys that exist" exist "$top_srcdir"/README.md "$top_srcdir"/doc/*.md "$top_srcdir"/inputs/*.nml
given() { # every key of the recipes, below its group
  sed 's/!.*//' "$inputs"/*.nml "$inputs"/demo/*.nml | tr ' ' '\n' |
    awk '/^&/ { group = substr($1, 2) } /^[a-z_0-9]+=/ { sub("=.*", ""); print group "." $1 }' | sort -u >given.txt
  [ -s given.txt ] && ! grep -vxF -f keys.txt given.txt
}
ok "and describes every key of the recipes" given
finish
