#!/bin/sh
# Every kind of bad input: one message that names the thing and the remedy, printed once, the right exit status, nothing lost.
. "${top_srcdir:-.}/tests/world.sh"
write_input pretrain good.nml
cat >>good.nml <<END
&model config='$world/model.json' /
&validation every_epochs=0 /
END
refused() { # refused STATUS WORDS [memclip arguments]: exit status, the words in the message, the message once
  wanted=$1 words=$2
  shift 2
  memclip "$@" >out 2>&1
  status=$?
  [ "$status" = "$wanted" ] || { echo "exit status $status instead of $wanted"; cat out; return 1; }
  [ "$(grep -c -- "$words" out)" = 1 ] || { echo "'$words' is not there exactly once:"; cat out; return 1; }
}
set_key() { key=$1 wanted=$2 words=$3; refused "$wanted" "$words" good.nml --set "run.directory='r$number'" --set "$key"; }

ok "no such option" refused 2 'option' --no-such-option
ok "no input" refused 2 'input file'
ok "missing input file" refused 1 'missing.nml' missing.nml
ok "misspelt key" set_key optim.warmup_step=5 1 warmup_steps
ok "misspelt group" set_key optm.lr=5 1 "optim"
ok "key of another group" set_key run.lr=5 1 "optim"
ok "wrong type" set_key "optim.lr='fast'" 1 optim.lr
ok "out of range" set_key optim.lr=-1 1 optim.lr
ok "unknown choice" set_key "run.precision='fp61'" 1 fp32
ok "warm-up longer than the run" set_key optim.warmup_steps=1000 1 warmup_steps
ok "batch larger than the data" set_key data.batch_size=100000 1 batch_size
ok "missing shard" set_key "data.train='$world/none-000000.tar'" 1 none-000000.tar
ok "missing vocabulary" set_key "data.vocabulary='none.gz'" 1 none.gz
ok "unknown activation" set_key "model.config='ViT-B-16'" 1 activation
ok "another activation than the configuration's" set_key "model.activation='quickgelu'" 1 parity.foreign_activation
ok "which runs when asked for" exits 0 memclip good.nml --check --set "run.directory='foreign'" --set "model.activation='quickgelu'" \
  --set parity.foreign_activation=.true.
ok "unknown configuration" set_key "model.config='ViT-B-61'" 1 ViT-B-16
ok "no device" set_key "run.device='cuda'" 3 cuda
ok "nothing trains" set_key "model.train='visual.tranformer.*'" 1 "model.train"

sed '/^&model/s,/$,config="x" /,' good.nml >twice.nml
ok "key given twice, with its line" refused 1 'twice.nml:4' twice.nml
printf "&run stage='pretrain'\n" >open.nml
ok "unterminated group" refused 1 'open.nml:1' open.nml

: >empty.tar
ok "empty shard" set_key "data.train='$PWD/empty.tar'" 1 empty.tar
cp "$top_srcdir/Makefile.am" nottar.tar
ok "a shard that is no tar" set_key "data.train='$PWD/nottar.tar'" 1 nottar.tar
printf 'not gzip' >bad.bpe.gz
ok "damaged vocabulary" set_key "data.vocabulary='$PWD/bad.bpe.gz'" 1 bad.bpe.gz
printf '{"embed_dim": 32, "vision_cfg": ' >bad.json
ok "broken configuration" set_key "model.config='$PWD/bad.json'" 1 bad.json
printf '{"embed_dim": 32, "quick_gelu": false, "vision_cfg": {"timm_model_name": "x"}, "text_cfg": {}}' >timm.json
ok "another architecture" set_key "model.config='$PWD/timm.json'" 1 timm_model_name

head -c 150000 "$world/train-000000.tar" >cut.tar
ok "a truncated shard: its complete samples are used, the rest is told" sh -c "memclip good.nml --set run.directory=cut --set \"data.train='$PWD/cut.tar'\" --set data.batch_size=4 2>&1 | grep -q cut.tar"
mkdir spoil && tar xf "$world/train-000000.tar" -C spoil
first=$(ls spoil/*.jpg | sed -n 1p) second=$(ls spoil/*.txt | sed -n 2p) third=$(ls spoil/*.jpg | sed -n 3p)
head -c 300 "$first" >x && mv x "$first"
printf '\377\376 not UTF-8' >"$second"
rm -f "$third"
(cd spoil && tar cf ../spoilt.tar --sort=name -- *)
ok "bad samples are skipped, counted and named" sh -c "memclip good.nml --set run.directory=spoilt --set \"data.train='$PWD/spoilt.tar'\" --set data.batch_size=8 --set data.bad_sample_limit=0.5 --set optim.epochs=4 &&
  [ \$(wc -l <spoilt/bad_samples.jsonl) -ge 2 ]"
ok "too many bad samples end the run" refused 1 bad_sample_limit good.nml --set "run.directory='limit'" --set "data.train='$PWD/spoilt.tar'" --set data.batch_size=8 \
  --set data.bad_sample_limit=0.001 --set optim.epochs=6

memclip good.nml --set "run.directory='first'" --set optim.max_steps=3 >/dev/null 2>&1
sed 's/"width": 32, "layers": 2/"width": 48, "layers": 2/' "$world/model.json" >wide.json
other_shape() { refused 1 'another configuration' good.nml --set "run.directory='shape'" --set "model.config='$PWD/wide.json'" --set "model.weights='first/checkpoints/latest.h5'"; }
ok "weights of another shape" other_shape
head -c 20000 first/checkpoints/latest.h5 >cut.h5
ok "truncated weights" refused 1 'cut.h5' good.nml --set "run.directory='cuth5'" --set "model.config=''" --set "model.weights='$PWD/cut.h5'"
damaged() { # one flipped byte in the newest checkpoint: it is named, and the run starts from the one before, or anew
  memclip good.nml --set "run.directory='damaged'" --set checkpoint.every_steps=2 --set optim.max_steps=5 >/dev/null 2>&1 || return 1
  newest=$(ls damaged/checkpoints/step_*.h5 | tail -n 1)
  size=$(wc -c <"$newest")
  printf '\252\125' | dd of="$newest" bs=1 seek=$((size / 2)) conv=notrunc 2>/dev/null
  memclip good.nml --set "run.directory='damaged'" --set checkpoint.every_steps=2 --set optim.max_steps=6 2>&1 | grep -q "$(basename "$newest")"
}
ok "a damaged checkpoint is named and the one before is used" damaged
full() { # on a file system of 200 kB
  mkdir -p full && mount -t tmpfs -o size=200k none full 2>/dev/null || { echo "no small file system can be mounted here"; return 0; }
  refused 3 'No space left' good.nml --set "run.directory='full/run'" --set optim.max_steps=3
  result=$?
  umount full
  return $result
}
ok "no space left" full
two_runs() {
  memclip good.nml --set "run.directory='two'" --set optim.epochs=2000 --set validation.every_epochs=0 >/dev/null 2>&1 &
  pid=$!
  until grep -q running two/status.json 2>/dev/null; do sleep 0.1; done
  refused 1 "two" good.nml --set "run.directory='two'" --set optim.epochs=2000
  result=$?
  kill -INT $pid
  wait $pid
  [ $? = 76 ] && return $result
}
ok "two runs in one directory" two_runs
finish
