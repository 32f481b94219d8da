#!/bin/sh
# memclip-shards and memclip-index on small inputs: folder, csv, json, tars; restart, join, split, several ranks. Prints
# TAP.
OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export OMPI_ALLOW_RUN_AS_ROOT OMPI_ALLOW_RUN_AS_ROOT_CONFIRM OMPI_MCA_rmaps_base_oversubscribe
shards=$PWD/memclip-shards index=$PWD/memclip-index
work=$(mktemp -d "$PWD/shards_test.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
count=0
report() { # status, name
  count=$((count + 1))
  if test "$1" -eq 0; then echo "ok $count - $2"; else echo "not ok $count - $2"; fi
}

mkdir -p images/a
i=0
printf 'filepath\ttitle\r\n' > rows.csv
echo '[' > rows.json
while test $i -lt 23; do
  printf 'picture %d' $i > images/a/p$i.jpg
  printf 'words %d' $i > images/a/p$i.txt
  printf 'pre/a/p%d.jpg\t"a ""long"" caption %d. And more."\r\npre/a/p%d.jpg\tshort.\r\n' $i $i $i >> rows.csv
  test $i -gt 0 && echo ',' >> rows.json
  printf '{"image": "a/p%d.jpg", "conversations": [{"from": "human", "value": "?"},
    {"from": "gpt", "value": " line\\nbreak %d\\n"}]}' $i $i >> rows.json
  i=$((i + 1))
done
echo ']' >> rows.json

$shards images/a --out folder --samples-per-shard 10 > log 2>&1 && grep -q 'samples 23' log &&
  test "$(ls folder/*.tar | wc -l)" -eq 3 && test "$(tar -xOf folder/000001.tar p18.jpg)" = "picture 18"
report $? "folder to shards, bytes as they were"

$shards rows.csv --strip-prefix pre/ --root images --out csv --samples-per-shard 10 > log 2>&1 &&
  grep -q 'samples 23' log &&
  test "$(tar -tf csv/000000.tar | head -4 | tr '\n' ' ')" = "p0.jpg p0.txt p1.jpg p1.txt " &&
  test "$(tar -xOf csv/000002.tar p22.txt)" = 'a "long" caption 22. And more.'
report $? "csv to shards, the first row of each path"
$shards rows.csv --every-row --strip-prefix pre/ --root images --out every > log 2>&1 && grep -q 'samples 46' log
report $? "csv to shards, every row"
$shards rows.json --root images --out json --split-first 5 --samples-per-shard 10 > log 2>&1 &&
  grep -q 'samples 23' log &&
  test "$(tar -tf json/val/000000.tar | wc -l)" -eq 10 &&
    test "$(tar -xOf json/train/000000.tar p5.txt)" = "line break 5"
report $? "json to shards, the first five apart"

$index 'csv/{000000..000002}.tar' > log 2>&1 && grep -q 'indexed_now 3' log && grep -q 'samples 23' log &&
  $index 'csv/{000000..000002}.tar' > log 2>&1 && grep -q 'indexed_now 0' log
report $? "index is made once"

$shards 'csv/{000000..000002}.tar' --join 2 --out joined > log 2>&1 && grep -q 'samples 23' log &&
  test "$(tar -tf joined/000000.tar | wc -l)" -eq 40 && test "$(tar -tf joined/000001.tar | wc -l)" -eq 6
report $? "tars joined by twos"

cp -p csv/000001.tar kept.tar
rm csv/000002.tar
printf x >> csv/000001.tar # a finished shard is not looked into
$shards rows.csv --strip-prefix pre/ --root images --out csv --samples-per-shard 10 > log 2>&1 &&
  test -f csv/000002.tar && ! cmp -s kept.tar csv/000001.tar
report $? "a restart writes what is missing and nothing else"
$shards rows.csv --strip-prefix pre/ --root images --out csv --samples-per-shard 9 > log 2>&1 &&
  test "$(tar -tf csv/000000.tar | wc -l)" -eq 18
report $? "other options write anew"

rm images/a/p7.jpg
$shards rows.csv --strip-prefix pre/ --root images --out missing > log 2>&1 && grep -q 'samples 22' log &&
  grep -q 'left_out 1' log && grep -q 'p7.jpg' log
report $? "a missing image is left out and named"

mkdir -p tree/deep tree/.hidden && cp images/a/p1.jpg images/a/p1.txt tree &&
  cp images/a/p1.jpg images/a/p1.txt tree/deep &&
  cp images/a/p2.jpg images/a/p2.txt tree/.hidden && cp images/a/p3.jpg tree/deep
$shards tree images/a --out walked > log 2>&1 && grep -q 'samples 24' log && grep -q 'left_out 1' log &&
  grep -q 'p3.txt' log &&
  grep -q '3 samples have the key of an earlier one, the first of them p' log
report $? "folders are walked, hidden ones are not; repeated keys are told"
$shards tree rows.csv --out mixed > log 2>&1
test $? -eq 1 && grep -q 'inputs of one kind' log
report $? "inputs of two kinds are refused"
printf '[{"image": "a/p1.jpg", "conversations": [{}, {"value": "one"}]}, {"image": "a/p2.jpg"}]' > partly.json
$shards partly.json --root images --out partly > log 2>&1 && grep -q 'samples 1' log && grep -q 'left_out 1' log &&
  grep -q 'entry 1' log
report $? "a json entry without a caption is left out and named"
printf 'filepath\ttitle\na/p1.jpg\tone\na/p2.jpg\n' > short.csv
$shards short.csv --root images --out short > log 2>&1 && grep -q 'samples 1' log && grep -q 'left_out 1' log &&
  grep -q 'row' log
report $? "so is a csv row without one"
$shards rows.csv --strip-prefix pre/ --root images --out short --samples-per-shard 5 > log 2>&1 &&
  $shards short.csv --root images --out short > log 2>&1 && grep -q 'short/000001.tar, 4 in all: not written' log
report $? "shards of an earlier run are told"

echo '{"successes": 99}' > every/000000_stats.json
$shards every/000000.tar --out again > log 2>&1 && grep -q 'holds 46 samples, its _stats.json says 99' log
report $? "counts are compared with _stats.json"

$shards absent.csv --out nowhere > log 2>&1
test $? -eq 1 && grep -q 'absent.csv' log
report $? "an absent input is named"
$shards images/a > log 2>&1
test $? -eq 2
report $? "a missing --out is an error of the command line"
$shards --help | grep -q samples-per-shard && $index --version | grep -q memclip-index
report $? "help and version"

if command -v mpirun > /dev/null; then
  $shards rows.csv --strip-prefix pre/ --root images --out one --samples-per-shard 3 > log 2>&1 &&
    mpirun --bind-to none -np 3 $shards rows.csv --strip-prefix pre/ --root images --out three --samples-per-shard 3 \
      > log 2>&1 && diff -r one three
  report $? "three ranks write what one writes"
  rm -f one/*.idx
  mpirun --bind-to none -np 2 $shards 'one/{000000..000007}.tar' --join 3 --out j2 > log 2>&1 &&
    test "$(ls one/*.idx | wc -l)" -eq 8 && grep -q 'samples 22' log
  report $? "two ranks share the indexing"
  rm -f one/*.idx
  mpirun --bind-to none -np 2 $index 'one/{000000..000007}.tar' > log 2>&1 && grep -q 'indexed_now 8' log &&
    test "$(grep -c samples log)" -eq 1
  report $? "and so they do for memclip-index, told once"
else
  report 0 "three ranks write what one writes # SKIP no mpirun"
  report 0 "two ranks share the indexing # SKIP no mpirun"
  report 0 "and so they do for memclip-index, told once # SKIP no mpirun"
fi
echo "1..$count"
