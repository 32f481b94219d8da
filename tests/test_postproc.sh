#!/bin/sh
# The programs for after a run, on small features files and run directories of its own making, sound and broken. Prints
# TAP.
count=0
report() { # status, name
  count=$((count + 1))
  if test "$1" -eq 0; then echo "ok $count - $2"; else echo "not ok $count - $2"; fi
}
# The program must leave with the status and say the words on stderr.
refuses() { # status, words, name, command...
  wanted=$1 words=$2 name=$3
  shift 3
  "$@" > "$work/out" 2> "$work/err"
  status=$?
  test $status -eq "$wanted" && grep -q -- "$words" "$work/err"
  report $? "$name"
}
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
tests/make_features "$work/perfect.h5" 0 && tests/make_features "$work/noisy.h5" 1
report $? "features are made"

# ---- memclip-metrics
./memclip-metrics --json "$work/perfect.h5" > "$work/perfect.json" &&
  grep -q '"text_to_image_R@1": 1.0' "$work/perfect.json" &&
  grep -q '"image_to_text_R@1_low": 1.0' "$work/perfect.json" &&
    grep -q '"negative_accuracy_swap": 1.0' "$work/perfect.json" &&
  grep -q '"within_group_R@1": 1.0' "$work/perfect.json"
report $? "perfect features score perfectly"
./memclip-metrics --json "$work/perfect.h5" "$work/noisy.h5" | head -1 | grep -q '^\['
report $? "several files make a list"
./memclip-metrics "$work/perfect.h5" "$work/noisy.h5" |
  grep -q 'text_to_image_R@1  *100.0 \[100.0, 100.0\]  *[0-9.]* \['
report $? "a table with intervals"
OMP_NUM_THREADS=1 ./memclip-metrics --json "$work/noisy.h5" > "$work/one" &&
  OMP_NUM_THREADS=3 ./memclip-metrics --json "$work/noisy.h5" > "$work/three" &&
  cmp -s "$work/one" "$work/three"
report $? "the same numbers on 1 and 3 threads"
for fault in width:models index:outside nan:finite short:entries newer:version; do
  tests/make_features "$work/bad.h5" 0 "${fault%:*}"
  refuses 1 "bad.h5.*${fault#*:}" "broken features are refused: ${fault%:*}" ./memclip-metrics "$work/bad.h5"
done
./memclip-metrics --json "$work/noisy.h5" > "$work/out" &&
  grep -q '"text_to_image_R@1_tokens_17-32_count": 16' "$work/out" &&
  grep -q '"text_to_image_R@1_truncated_count": 7' "$work/out" && grep -q '"image_to_text_R@10_whole_high"' "$work/out"
report $? "recalls by caption length"
tests/make_features "$work/old.h5" 1 old && ./memclip-metrics --json "$work/old.h5" > "$work/old" &&
  grep -v '_tokens_\|_truncated\|_whole\|"file"' "$work/out" | sed 's/,$//' > "$work/new" &&
  grep -v '"file"' "$work/old" | sed 's/,$//' | diff - "$work/new" > /dev/null
report $? "a file of an older format gives the same numbers"
head -c 3000 "$work/noisy.h5" > "$work/half.h5"
refuses 1 "half.h5" "a half-written file is refused" ./memclip-metrics "$work/half.h5"
refuses 1 "No such file" "an absent file is refused" ./memclip-metrics "$work/absent.h5"
mkdir "$work/empty"
refuses 1 "features" "a directory without features is refused" ./memclip-metrics "$work/empty"
refuses 2 "features" "no argument is an error of the command line" ./memclip-metrics

# ---- memclip-compare
tests/make_features "$work/better.h5" 0.5
./memclip-compare "$work/noisy.h5" "$work/better.h5" > "$work/out" 2> "$work/err" &&
  grep -q 'image_to_text_R@1 .* better$' "$work/out" &&
  grep -q 'text_to_image_mean_rank .* better$' "$work/out" && grep -q 'not distinguishable$' "$work/out"
report $? "a better model is told from a worse one"
./memclip-compare --json "$work/noisy.h5" "$work/noisy.h5" > "$work/out" &&
  grep -q '"text_to_image_R@1_difference_high": 0.0' "$work/out" &&
  ! grep -Eq '"(better|worse)"' "$work/out"
report $? "a model does not differ from itself"
tests/make_features "$work/other.h5" 1 scenes
refuses 1 "same data" "other data are refused" ./memclip-compare "$work/noisy.h5" "$work/other.h5"
mkdir -p "$work/runs/several/features"
for label in bad good; do
  tests/make_features "$work/runs/several/features/val.$label.h5" "$(test $label = bad && echo 1 || echo 0.5)" \
    label:$label
  tests/make_features "$work/runs/several/features/coco.$label.h5" "$(test $label = bad && echo 1 || echo 0.9)" \
    label:$label
done
refuses 1 "LABEL" "of several models one must be named" ./memclip-compare "$work/runs/several" "$work/runs/several"
refuses 1 "label 'ugly'" "a label that is not there" ./memclip-compare "$work/runs/several:ugly" \
  "$work/runs/several:good"
./memclip-compare --json "$work/runs/several:bad" "$work/runs/several:good" > "$work/out" &&
  [ "$(grep -c '"data_set"' "$work/out")" = 2 ]
report $? "all data sets of two models"
# Of two data sets with p and q, the smaller one is doubled.
./memclip-compare --json "$work/runs/several/features/val.bad.h5" "$work/runs/several/features/val.good.h5" \
  > "$work/alone"
p=$(sed -n 's/.*"text_to_image_R@1_p": \([^,]*\),/\1/p' "$work/alone")
sed -n 's/.*"text_to_image_R@1_p": \([^,]*\),/\1/p' "$work/out" |
  awk -v p="$p" '{a[NR] = $1} END {least = a[1] < a[2] ? a[1] : a[2]; exit NR != 2 || (least - 2 * p) ^ 2 > 1e-12}'
report $? "Holm over the data sets"
refuses 2 "two" "one name is an error of the command line" ./memclip-compare "$work/noisy.h5"

# ---- memclip-plot
mkdir -p "$work/runs/one" "$work/runs/it's two"
for step in 10 20 30 40; do
  echo "{\"step\": $step, \"epoch\": 0.1, \"time\": $step.5, \"train/loss\": 3.$step, \"train/lr\": null," \
    "\"val/similarity_mean\": 0.$step}"
done > "$work/runs/one/metrics.jsonl"
cp "$work/runs/one/metrics.jsonl" "$work/runs/it's two/"
printf '{"step": 50, "train/lo' >> "$work/runs/one/metrics.jsonl"
mkdir "$work/runs/broken" && echo 'step 1' > "$work/runs/broken/metrics.jsonl" &&
  echo '{"step": 2}' >> "$work/runs/broken/metrics.jsonl"
if command -v gnuplot > /dev/null; then
  ./memclip-plot --out "$work/plots" "$work/runs/one" "$work/runs/it's two" > "$work/out" 2> "$work/err" &&
    test -s "$work/plots/loss.png" &&
    grep -q "it's two" "$work/plots/loss.svg" && test -s "$work/plots/similarity.svg" &&
      ! test -e "$work/plots/learning_rate.svg"
  report $? "curves of two runs, one still writing"
else
  report 0 "curves of two runs, one still writing # SKIP no gnuplot"
fi
if command -v gnuplot > /dev/null; then
  ./memclip-plot --out "$work/plots" "$work/runs/several" > "$work/out" &&
    test -s "$work/plots/length_text_to_image_val.png" && test -s "$work/plots/ranks_image_to_text_val.svg"
  report $? "recall by caption length and ranks"
else
  report 0 "recall by caption length and ranks # SKIP no gnuplot"
fi
mkdir "$work/runs/nothing"
refuses 1 "metrics.jsonl" "an empty run is refused" ./memclip-plot --out "$work/plots" "$work/runs/nothing"
refuses 1 "metrics.jsonl:1" "a damaged report is refused" ./memclip-plot --out "$work/plots" "$work/runs/broken"
refuses 1 "absent" "a run that is not there is refused" ./memclip-plot "$work/runs/absent"

# ---- memclip-report
mkdir "$work/runs/one/features"
mv "$work/noisy.h5" "$work/runs/one/features/val.model.h5"
echo "&run stage = '<eval>' /" > "$work/runs/one/used.nml"
echo '{"state": "done", "exit": 0}' > "$work/runs/one/status.json"
echo '{"columns": ["model", "parameters"], "rows": [["a & b", 1234567], ["c", 99]], "better": ["", "low"]}' \
  > "$work/table.json"
command -v gnuplot > /dev/null || rm "$work/runs/one/metrics.jsonl"
./memclip-report --out "$work/report" --headline 'A <test>' --table "$work/table.json" "$work/runs/one" \
  "$work/perfect.h5" > "$work/out" 2> "$work/err"
report $? "a report of a run and a features file"
page=$work/report/report.html
grep -q 'A &lt;test&gt;' "$page" && grep -q 'a &amp; b' "$page" && grep -q '&lt;eval&gt;' "$page" &&
  ! grep -q '<picture> 1' "$page"
report $? "words of others are escaped"
! grep -Eq '<script|https?://|url\(' "$page"
report $? "the page needs nothing else"
grep -q '<td class="best">100.0' "$page" && grep -q 'class="key">v000' "$page"
report $? "results and gallery are there"
echo '{"key": "s<1>", "shard": "x.tar", "reason": "JPEG: truncated"}' > "$work/runs/one/bad_samples.jsonl"
if command -v gnuplot > /dev/null; then
  find "$work/runs" -type f -exec cksum {} + > "$work/before"
  ./memclip-report --out "$work/report" --baseline bad --model good "$work/runs/one" "$work/runs/several" \
    > "$work/out" && grep -q 'Differences from bad' "$page" &&
    grep -q '<small class="yes">better' "$page" && grep -q 's&lt;1&gt;' "$page" &&
      grep -q 'by caption length' "$page" && ! grep -Eq '<script|https?://' "$page"
  report $? "differences, bad samples, results by length"
  find "$work/runs" -type f -exec cksum {} + | diff - "$work/before" > /dev/null
  report $? "nothing that was read is changed"
else
  report 0 "differences, bad samples, results by length # SKIP no gnuplot"
  report 0 "nothing that was read is changed # SKIP no gnuplot"
fi
refuses 1 "did you mean 'good'" "a misspelt label" ./memclip-report --out "$work/report" --model goood \
  "$work/runs/several"
refuses 1 "memory_usage" "a run without counts is refused" ./memclip-usage "$work/runs/one"
refuses 1 "memory_usage" "a file of another kind is refused" ./memclip-usage "$work/perfect.h5"
refuses 1 "half.h5" "a half-written file is refused by memclip-usage" ./memclip-usage "$work/half.h5"
echo '{"rows": 1}' > "$work/table.json"
refuses 1 "columns" "a table of another form is refused" ./memclip-report --out "$work/report" \
  --table "$work/table.json" "$work/perfect.h5"
refuses 1 "absent.tar" "shards that are not there are refused" ./memclip-report --out "$work/report" \
  --images "$work/absent.tar" "$work/perfect.h5"
if test -x ./memclip-scenes; then
  ./memclip-scenes --out "$work/world" --splits val:4 > "$work/out" && tests/make_features "$work/scenes.h5" 1 scenes &&
    ./memclip-report --out "$work/report" --images "$work/world/val-000000.tar" --world "$work/world/world.json" \
      "$work/scenes.h5" > "$work/out" &&
    grep -q '<img loading="lazy" src="data:image/jpeg;base64,/9j/' "$page"
  report $? "pictures come out of shards"
else
  report 0 "pictures come out of shards # SKIP memclip-scenes is not built"
fi
echo "1..$count"
