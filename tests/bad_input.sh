#!/bin/sh
# Every kind of bad input, on one rank and on two: one message that names the thing and the remedy, printed once, the
# right exit status, nothing lost.
. "${top_srcdir:-.}/tests/world.sh"
export OMPI_MCA_odls_base_sigkill_timeout=0 # mpirun waits so long after a rank that left with another status than 0
write_input pretrain good.nml
cat >>good.nml <<END
&model config='$world/model.json' /
&validation every_epochs=0 /
END
# refused_by LAUNCH STATUS WORDS [memclip arguments]: exit status, the words in the message, the message once
refused_by() {
  launch=$1 wanted=$2 words=$3
  shift 3
  rm -rf "r$number"
  $launch memclip "$@" >out 2>&1
  status=$?
  [ "$status" = "$wanted" ] || { echo "$launch: exit status $status instead of $wanted"; cat out; return 1; }
  [ "$(grep -c -- "$words" out)" = 1 ] || { echo "$launch: '$words' is not there exactly once:"; cat out; return 1; }
  ! grep -q "MPI_ABORT" out || { echo "$launch: ended by MPI_Abort:"; cat out; return 1; }
}
refused() { refused_by "" "$@" && { [ "${sanitized:-no}" = yes ] || refused_by "mpirun -n 2" "$@"; }; }
set_key() { # set_key KEY=VALUE STATUS WORDS [memclip arguments]
  key=$1 wanted=$2 words=$3
  shift 3
  refused "$wanted" "$words" good.nml --set "run.directory='r$number'" --set "$key" "$@"
}
shards() { shards=$1; shift; set_key "data.train=$shards" "$@" --set data.batch_size=4 --set optim.warmup_steps=0; }

ok "no such option" refused_by "" 2 'option' --no-such-option
ok "no input" refused_by "" 2 'input file'
ok "two inputs" refused_by "" 2 'is a second one' a.nml b.nml
ok "--describe of an unknown key" refused_by "" 2 'did you mean lr' --describe optim.lrr
ok "--describe of an unknown group" refused_by "" 2 'did you mean &optim' --describe optm
ok "missing input file" refused 1 'missing.nml' missing.nml
ok "a folder as input" refused 1 'Is a directory' .
ok "misspelt key" set_key optim.warmup_step=5 1 warmup_steps
ok "misspelt group" set_key optm.lr=5 1 "did you mean &optim"
ok "key of another group" set_key run.lr=5 1 "belongs to &optim"
ok "--set without a value" set_key optim.lr 1 "expected group.key=value"
ok "wrong type" set_key "optim.lr='fast'" 1 "optim.lr takes a number"
ok "out of range" set_key optim.lr=-1 1 "optim.lr is -1, but must be at least 0"
ok "unknown choice" set_key "run.precision='fp61'" 1 fp32
ok "a stage that is not there" set_key run.stage=pretain 1 "did you mean 'pretrain'"
ok "warm-up longer than the run" set_key optim.warmup_steps=1000 1 "lower warmup_steps or raise epochs"
ok "batch larger than the data" set_key data.batch_size=100000 1 "lower data.batch_size"
ok "a global batch that does not fit the ranks" refused_by "mpirun -n 2" 1 \
  'Ranks that fit this batch_size: 1 or 3; batch_size that fits these ranks: 12 or 24' good.nml \
  --set run.directory=fit --set data.batch_size=16 --set data.global_batch=48
ok "a jitter of no strength" set_key data.color_jitter_prob=0.5 1 "color_jitter is not given"
ok "a jitter of three values" set_key data.color_jitter=0.4,0.4,0.4 1 "takes four values"
ok "gray pictures of no crops" refused 1 "data.augment is 'none'" good.nml --set "run.directory='gray'" \
  --set data.gray_scale_prob=0.2 --set "data.augment='none'"
ok "weights of captions that are no json" set_key data.caption_weights=1,2 1 "0 keys behind json:"
ok "missing shard" set_key "data.train='$world/none-000000.tar'" 1 none-000000.tar
ok "missing shard in a brace list" set_key "data.train='$world/train-{000003..000004}.tar'" 1 train-000004.tar
ok "missing vocabulary" set_key "data.vocabulary='none.gz'" 1 none.gz
ok "missing weights" set_key "model.weights='none.h5'" 1 none.h5
ok "unknown activation" set_key "model.config='ViT-B-16'" 1 activation
ok "another activation than the configuration's" set_key "model.activation='quickgelu'" 1 parity.foreign_activation
ok "which runs when asked for" exits 0 memclip good.nml --check --set "run.directory='foreign'" \
  --set "model.activation='quickgelu'" \
  --set parity.foreign_activation=.true.
ok "unknown configuration" set_key "model.config='ViT-B-61'" 1 ViT-B-16
ok "no device" set_key "run.device='cuda'" 3 cuda
unknown_isa() { (export MEMCLIP_ISA=sse9; set_key run.seed=1 1 "MEMCLIP_ISA=sse9 is unknown"); }
ok "an instruction set that is unknown" unknown_isa
ok "nothing trains" set_key "model.train='visual.tranformer.*'" 1 "model.train"
ok "memory in a block that is not there" set_key memory.layers=7 1 "which has blocks 0 to 1"
ok "a memory that cannot be" set_key memory.k_dim=7 1 "must be even" --set memory.layers=1
unreadable() { # a folder where a file is wanted, and a file without permission (root may read all)
  mkdir folder.tar && set_key "data.train='$PWD/folder.tar'" 1 folder.tar && cp "$world/model.json" closed.json &&
    chmod 0 closed.json || return 1
  [ "$(id -u)" = 0 ] || set_key "model.config='$PWD/closed.json'" 1 closed.json
}
ok "unreadable files" unreadable

sed '/^&model/s,/$,config="x" /,' good.nml >twice.nml
ok "key given twice, with its line" refused 1 "twice.nml:$(grep -n '^&model' twice.nml | cut -d: -f1):" twice.nml
printf "&run stage='pretrain'\n" >open.nml
ok "unterminated group" refused 1 'open.nml:1:1: the group &run is not closed' open.nml
printf "&run stage='pretrain directory='r' /\n" >quote.nml
ok "a quote that is missing" refused 1 'quote.nml:1:' quote.nml
head -c 100 /dev/zero >zeros.nml
ok "an input that is no text" refused 1 'NUL byte' zeros.nml
: >nothing.nml
ok "an empty input" refused 1 'run.stage must be given' nothing.nml

: >empty.tar
ok "an empty shard" shards "$PWD/empty.tar" 1 'empty.tar is empty'
cp "$top_srcdir/Makefile.am" nottar.tar
ok "a shard that is no tar" shards "$PWD/nottar.tar" 1 'nottar.tar is no tar'
gzip -c "$world/train-000000.tar" >packed.tar
ok "a compressed shard" shards "$PWD/packed.tar" 1 packed.tar
mkdir spoil && tar xf "$world/train-000000.tar" -C spoil
names() { (cd spoil && ls ./*."$1" | sed 's,^./,,'); }
(cd spoil && tar cf ../captions.tar -- *.txt)
ok "a shard without pictures" shards "$PWD/captions.tar" 1 'no sample with an image and a caption'
mkfifo pipe.tar
ok "a pipe for a shard" shards "$PWD/pipe.tar" 1 'not a regular file'
printf 'not gzip' >bad.bpe.gz
ok "a vocabulary that is not gzip" set_key "data.vocabulary='$PWD/bad.bpe.gz'" 1 bad.bpe.gz
head -c 300 "$world/vocabulary.bpe.gz" >cut.bpe.gz
ok "a vocabulary cut short" set_key "data.vocabulary='$PWD/cut.bpe.gz'" 1 cut.bpe.gz
memclip-vocab train --size 600 --out small.bpe.gz "$world/captions.txt" >/dev/null
ok "a vocabulary of another size" set_key "data.vocabulary='$PWD/small.bpe.gz'" 1 'has 600 ids'
config() { # config NAME WORDS: the JSON on stdin is refused with the words
  cat >"$1.json"
  set_key "model.config='$PWD/$1.json'" 1 "$2"
}
ok "a broken configuration" config broken broken.json <<END
{"embed_dim": 32, "vision_cfg":
END
ok "another architecture" config timm timm_model_name <<END
{"embed_dim": 32, "quick_gelu": false, "vision_cfg": {"timm_model_name": "x"}, "text_cfg": {}}
END
changed() { # changed SED WORDS: the model's JSON with one change
  sed "$1" "$world/model.json" | config changed "$2"
}
ok "a width that heads do not divide" changed 's/"head_width": 16/"head_width": 10/' 'changed.json'
ok "a text where a number stands" changed 's/"layers": 2/"layers": "two"/' 'changed.json'
ok "patches larger than the picture" changed 's/"patch_size": 8/"patch_size": 64/' 'changed.json'
ok "a width below 1" changed 's/"embed_dim": 32/"embed_dim": 0/' 'changed.json'

trains() { # trains SHARD WORDS [arguments]: exit status 0 on one rank and on two, with the words
  shard=$1 words=$2
  shift 2
  for launch in "" "mpirun -n 2"; do
    rm -rf trains
    $launch memclip good.nml --set run.directory=trains --set data.train="$shard" --set data.batch_size=4 \
      --set optim.warmup_steps=0 \
      --set data.bad_sample_limit=0.5 "$@" >out 2>&1 || { echo "$launch: failed"; cat out; return 1; }
    grep -q -- "$words" out trains/bad_samples.jsonl 2>/dev/null ||
      { echo "$launch: no word of $words"; cat out; return 1; }
  done
}
head -c 150000 "$world/train-000000.tar" >cut.tar
ok "a truncated shard: its complete samples are used, the rest is told" trains "$PWD/cut.tar" "cut.tar"
(cd spoil && tar cf ../shuffled.tar -- *.jpg *.txt)
ok "a shard whose members are not side by side" shards "$PWD/shuffled.tar" 1 "must stand side by side"
(cd spoil && tar cPf ../climbing.tar --transform 's,^train00000001,../evil,' -- *)
ok "a member that climbs out of its folder is left out and named" trains "$PWD/climbing.tar" '"\.\."'

first=spoil/$(names jpg | sed -n 1p) second=spoil/$(names txt | sed -n 2p) third=spoil/$(names jpg | sed -n 3p)
fourth=spoil/$(names jpg | sed -n 4p) fifth=spoil/$(names jpg | sed -n 5p)
head -c 300 "$first" >x && mv x "$first"
printf '\377\376 not UTF-8' >"$second"
rm -f "$third"
make_picture 20000 20000 "$fourth"
make_picture 1 1 "$fifth"
(cd spoil && tar cf ../spoilt.tar --sort=name -- *)
named() { # each bad sample by name and reason, whichever rank met it; the others are not named
  trains "$PWD/spoilt.tar" "left out: no image" --set optim.epochs=2 --set data.max_image_megapixels=100 || return 1
  cat trains/bad_samples.jsonl
  for sample in "$first" "$second" "$fourth"; do
    grep -q "\"key\":\"$(basename "${sample%.*}")\"" trains/bad_samples.jsonl || return 1
  done
  grep -q 'not UTF-8' trains/bad_samples.jsonl && grep -q '20000 x 20000' trains/bad_samples.jsonl &&
    [ "$(sed 's/.*"key":"\([^"]*\)".*/\1/' trains/bad_samples.jsonl | sort -u | wc -l)" = 3 ]
}
ok "a cut JPEG, a caption that is not UTF-8, a huge picture are skipped, counted and named; one pixel is a picture" \
  named
ok "bad samples are counted" grep -q '"train/bad_samples":[1-9]' trains/metrics.jsonl
ok "too many bad samples end the run" shards "$PWD/spoilt.tar" 1 "more than data.bad_sample_limit" \
  --set data.bad_sample_limit=0.001 --set optim.epochs=6
ok "with a limit of 0 the first one does" shards "$PWD/spoilt.tar" 1 "more than data.bad_sample_limit = 0 allows" \
  --set data.bad_sample_limit=0 --set optim.epochs=2
val() { # val WORDS [arguments]: with spoilt held-out samples
  words=$1
  shift
  trains "$world/train-000000.tar" "$words" --set data.val="$PWD/spoilt.tar" --set validation.every_epochs=1 \
    --set data.max_image_megapixels=100 "$@"
}
val_named() {
  val 'data.val: 3 of 63 samples are bad and left out' --set optim.epochs=2 && cat trains/bad_samples.jsonl &&
    [ "$(wc -l <trains/bad_samples.jsonl)" = 3 ] && [ "$(grep -c '"val/bad_samples":3' trains/metrics.jsonl)" = 2 ]
}
ok "bad held-out samples are left out, counted and named once" val_named
ok "too many of them end the run" set_key "data.val=$PWD/spoilt.tar" 1 'data.val: 3 of 63 samples were bad' \
  --set validation.every_epochs=1 --set data.bad_sample_limit=0.02 \
  --set data.max_image_megapixels=100
evaluates() { # the run directory of the evaluation names them too, from both ranks
  cat >eval.nml <<END
&run stage='eval' directory='eval' precision='fp32' threads=1 /
&model weights='trains/checkpoints/latest.h5' /
&data val='$PWD/spoilt.tar' vocabulary='$world/vocabulary.bpe.gz' bad_sample_limit=0.5 max_image_megapixels=100 /
&eval datasets='val' batch_size=4 /
END
  mpirun -n 2 memclip eval.nml >out 2>&1 && [ "$(wc -l <eval/bad_samples.jsonl)" = 3 ] &&
    grep -q '_bad_images": 2' eval/results.json && grep -q '_bad_texts": 1' eval/results.json
}
ok "an evaluation keeps their places, counts and names them" evaluates
for picture in spoil/*.jpg; do printf 'no picture' >"$picture"; done
(cd spoil && tar cf ../hopeless.tar -- *)
ok "no good picture at all" shards "$PWD/hopeless.tar" 1 'no good sample was found' --set data.bad_sample_limit=1

memclip good.nml --set "run.directory='first'" --set optim.max_steps=3 >/dev/null 2>&1
weights=first/checkpoints/latest.h5
sed 's/"width": 32, "layers": 2/"width": 48, "layers": 2/' "$world/model.json" >wide.json
ok "weights of another shape" set_key "model.config='$PWD/wide.json'" 1 'another configuration' \
  --set "model.weights='$weights'"
head -c 20000 $weights >cut.h5
ok "truncated weights" set_key "model.config=''" 1 'cut.h5' --set "model.weights='$PWD/cut.h5'"
edited() { # edited ACTION NAME WORDS [arguments]: weights with one change
  edit_checkpoint $weights edited.h5 "$1" "$2" || return 1
  words=$3
  shift 3
  set_key model.weights=edited.h5 1 "$words" "$@"
}
ok "NaN in weights" edited nan model/visual.proj 'visual.proj holds a value that is not finite at element'
ok "weights without a tensor" edited drop model/visual.proj 'visual.proj is missing'
ok "weights without their configuration" edited drop run/config 'edited.h5 carries no model configuration' \
  --set model.config=
ok "weights that are no HDF5 file" set_key "model.weights=good.nml" 1 'is not an HDF5 file'

full() { # on a file system of 200 kB
  mkdir -p full && mount -t tmpfs -o size=200k none full 2>/dev/null ||
    { echo "no small file system can be mounted here"; return 0; }
  refused 3 'No space left' good.nml --set "run.directory='full/run'" --set optim.max_steps=3 &&
    grep -q '"exit": 3' full/run/status.json
  result=$?
  umount full
  return $result
}
ok "no space left" full
ok "a run directory that cannot be made" refused 3 '/proc/none' good.nml --set run.directory=/proc/none
ok "a run directory of another input, with the difference" refused 1 'optim.lr is 0.002, was 0.001' good.nml \
  --set "run.directory='first'" --set optim.lr=2e-3 --set optim.max_steps=3
two_runs() {
  memclip good.nml --set "run.directory='two'" --set optim.epochs=2000 >two.log 2>&1 &
  pid=$!
  until grep -q running two/status.json 2>/dev/null; do sleep 0.1; done
  refused_by "" 1 "another run holds this directory: process $pid on" good.nml --set "run.directory='two'" \
    --set optim.epochs=2000
  result=$?
  kill -INT $pid
  wait $pid
  status=$?
  [ "$status" = 76 ] || { echo "the first run ended with $status"; tail two.log; return 1; }
  return $result
}
ok "two runs in one directory" two_runs
finish
