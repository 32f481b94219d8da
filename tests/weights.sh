#!/bin/sh
# memclip-import and memclip-export as programs: what a run trained goes out and comes in again, exit statuses,
# messages.
. "${top_srcdir:-.}/tests/world.sh"
parity=$builddir/tests/unpacked/parity
write_input pretrain good.nml
cat >>good.nml <<END
&model config='$world/model.json' /
&validation every_epochs=0 /
END
refused() { # refused STATUS WORDS COMMAND...
  wanted=$1 words=$2
  shift 2
  "$@" >/dev/null 2>err
  status=$?
  [ "$status" = "$wanted" ] || { echo "exit status $status instead of $wanted"; cat err; return 1; }
  grep -q -- "$words" err || { echo "'$words' is not in the message:"; cat err; return 1; }
}
trained() { memclip good.nml --set optim.max_steps=3 && [ -e pretrain/checkpoints/latest.h5 ]; }
ok "a run" trained
mkdir -p safetensors pt
for form in safetensors pt; do
  ok "its checkpoint goes out as $form into a folder" memclip-export pretrain/checkpoints/latest.h5 \
    --out $form/weights.$form
  ok "with its configuration beside it" grep -q '"quick_gelu": false' $form/open_clip_config.json
  ok "comes in again" memclip-import $form/weights.$form --out $form.h5
  ok "goes out again" sh -c "mkdir again && memclip-export $form.h5 --out again/weights.$form"
  ok "to the same bytes" cmp $form/weights.$form again/weights.$form
  rm -rf again
  ok "and a run starts from it" memclip good.nml --set "run.directory='from_$form'" --set optim.max_steps=3 \
    --set "model.weights='$form.h5'" --set "model.config=''"
done
lines() { memclip-import "$parity/clip/weights.safetensors" -a gelu -o lines.h5 | grep -c '^taken ' | grep -qx 50; }
ok "a line for every tensor" lines
ok "and none when asked" sh -c \
  "[ \$(memclip-import $parity/clip/weights.safetensors -a gelu -q -o quiet.h5 | wc -l) = 1 ]"
ok "--released prints the table" sh -c "memclip-import --released | grep -q laion2b_s32b_b82k"
ok "no SOURCE" refused 2 "name the weights" memclip-import
ok "no --out" refused 2 "name the weights" memclip-import weights.pt
ok "no such activation" refused 2 relu memclip-import x -a relu
ok "no such suffix" refused 2 .safetensors memclip-export x -o weights.h5
ok "no such file" refused 1 none.pt memclip-import none.pt -o x.h5
ok "no activation" refused 1 "--activation quickgelu" memclip-import "$parity/clip/weights.safetensors" -o x.h5
ok "another activation" refused 1 "says quickgelu" memclip-import "$parity/huggingface" -a gelu -o x.h5
mkdir -p hf && cp "$parity"/huggingface/* hf
echo '{"size": {"height": 4, "width": 4}, "do_center_crop": false, "resample": 2, "image_mean": [0.25, 0.25, 0.25],
  "image_std": [0.5, 0.5, 0.5]}' >hf/preprocessor_config.json
pictures() {
  memclip-import hf -o hf.h5 | grep '^pictures (squash, bilinear' && memclip-export hf.h5 --out hfout.safetensors &&
    grep -q '"resize_mode": "squash"' open_clip_config.json && grep -A3 '"mean"' open_clip_config.json | grep -q 0.25
}
ok "preprocessor_config.json is read and written as open_clip's" pictures
echo '{"size": 256, "crop_size": 4}' >hf/preprocessor_config.json
ok "one that cannot be followed" refused 1 "resized to 256" memclip-import hf -o x.h5
ok "no knn" refused 1 "--knn N" memclip-import "$parity/student/student.pt" \
  -c "$parity/clip/open_clip_config.json" -a gelu -o x.h5
ok "not ours" refused 1 HDF5 memclip-export "$parity/clip/weights.safetensors" -o x.pt
ok "ours is not imported" refused 1 "memclip reads it as it is" memclip-import lines.h5 -o x.h5
ok "no folder to write into" refused 3 "cannot create" memclip-import "$parity/huggingface" -o none/x.h5
ok "nothing is left behind" sh -c '! ls x.h5* *.tmp.* 2>/dev/null'
finish
