#!/bin/sh
# The options of memories through all stages: experts, dropout that any number of ranks and accumulation see alike,
# the value tables' own optimiser settings.
. "${top_srcdir:-.}/tests/world.sh"
write_input pretrain pretrain.nml
echo "&model config='$world/model.json' /" >>pretrain.nml
write_input distill distill.nml
echo "&teacher weights='pretrain/checkpoints/latest.h5' /" >>distill.nml
write_input finetune finetune.nml
memory() { # memory OPTIONS: distill with this group &memory
  cp distill.nml with.nml
  echo "&memory layers=0,1 n_keys=5 heads=2 knn=3 k_dim=16 init='meta' $1 /" >>with.nml
}
run() { # run NAME RANKS BATCH ACCUMULATION [more]
  name=$1 ranks=$2 batch=$3 accumulation=$4
  shift 4
  mpirun -n "$ranks" memclip with.nml --set "run.directory='$name'" --set data.batch_size="$batch" \
    --set optim.accumulation="$accumulation" "$@"
}
latest() { echo "$1/checkpoints/latest.h5"; }
same() { compare_checkpoints "$(latest "$1")" "$(latest "$2")" "$3"; }
differs() { ! same "$1" "$2" 1e-3; }
refused() { # refused WORDS OPTIONS
  memory "$2"
  exits 1 run refused 1 16 1 2>&1 | tee output.txt
  grep -q "$1" output.txt && ! grep -q 'exit status' output.txt
}
ok "a teacher" memclip pretrain.nml
memory "peer=.true. v_dim=0 gated=.true."
ok "experts" run peer 1 16 1
ok "on 4 ranks" run peer4 4 4 1
ok "are the same" same peer peer4 2e-5
ok "one pair of tables, listed under both layers" sh -c \
  'h5dump -n peer/checkpoints/latest.h5 | grep -c "model/.*mlp/values_[uv]" | grep -qx 8'
ok "fine-tuning of experts" mpirun -n 2 memclip finetune.nml --set "model.weights='peer/checkpoints/latest.h5'" \
  --set data.batch_size=8
ok "changes both tables" sh -c \
  'changed_tensors peer/checkpoints/latest.h5 finetune/checkpoints/latest.h5 |
    grep -c "resblocks.0.mlp.values_[uv]" | grep -qx 2'
memory "v_dim=512"
ok "values wider than all else of the tower" run wide 1 16 1
ok "on 2 ranks, accumulated" run wide2 2 2 4
ok "give the same gradients" same wide wide2 2e-5
i=0
for drop in "v_dim=24 input_dropout=0.2" "v_dim=24 query_dropout=0.2 share_values=.false." \
  "v_dim=24 value_dropout=0.2" "peer=.true. v_dim=0 input_dropout=0.1 value_dropout=0.1"; do
  i=$((i + 1))
  memory "$(echo "$drop" | sed 's/[a-z]*_dropout=[0-9.]*//g')"
  ok "$drop: without dropout" run whole$i 1 16 1
  memory "$drop"
  ok "with it" run dropped$i 1 16 1
  ok "is another training" differs whole$i dropped$i
  ok "on 2 ranks, accumulated, recomputed" run again$i 2 4 2 --set model.gradient_checkpointing=.true.
  ok "is the same" same dropped$i again$i 2e-5
done
stop_and_go() { # stop_and_go NAME
  mkdir -p "$1" && touch "$1/STOP"
  run "$1" 1 16 1
  [ ! -e "$1/STOP" ] && run "$1" 1 16 1
}
ok "stopped and resumed" stop_and_go stopped
ok "sees its own masks" same dropped$i stopped 0
memory "v_dim=24"
ok "values as all else" run usual 1 16 1
memory "v_dim=24 value_lr=1e-2"
ok "values with a rate of their own" run fast 1 16 1
ok "end elsewhere" sh -c \
  '! compare_checkpoints usual/checkpoints/latest.h5 fast/checkpoints/latest.h5 1e-2 \
    model/visual/transformer/resblocks/0/mlp/values/weight'
memory "v_dim=24 value_clip_norm=1e-4"
ok "values clipped apart" run clipped 1 16 1
ok "end elsewhere" sh -c \
  '! compare_checkpoints usual/checkpoints/latest.h5 clipped/checkpoints/latest.h5 1e-3 \
    optimizer/exp_avg/visual/transformer/resblocks/0/mlp/values/weight'
memory "v_dim=24 value_dtype='bf16'"
ok "values in bf16 alone" run rounded 1 16 1
ok "hold bf16 numbers" sh -c \
  'h5dump -d /model/visual/transformer/resblocks/0/mlp/values/weight -b LE -o values.bin \
    rounded/checkpoints/latest.h5 >/dev/null &&
    od -An -v -tx2 values.bin | tr -s " " "\n" | sed /^$/d | awk "NR % 2 && \$1 != \"0000\" { exit 1 }"'
ok "the file says so" sh -c \
  'h5dump -a /model/visual/transformer/resblocks/0/mlp/values/weight/stored_as rounded/checkpoints/latest.h5 |
    grep -q "\"bf16\""'
ok "stopped and resumed" stop_and_go rounded2
ok "are the same" same rounded rounded2 0
ok "query_batchnorm is refused by name" refused query_batchnorm "query_batchnorm=.true."
ok "shards are refused by name" refused shard_ranks "shard_ranks=2"
ok "experts of another width are refused" refused v_dim "peer=.true. v_dim=24"
finish
