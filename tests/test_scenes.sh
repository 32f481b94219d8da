#!/bin/sh
# memclip-scenes from outside: same bytes for any number of threads, disjoint splits, captions, balanced negatives,
# lists that agree. Prints TAP.
program=./memclip-scenes
[ -x "$program" ] || { echo "1..0 # SKIP memclip-scenes is not built (no cairo)"; exit 0; }
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
count=0
report() { # status, name
  count=$((count + 1))
  if test "$1" -eq 0; then echo "ok $count - $2"; else echo "not ok $count - $2"; fi
}
same() { # a, b, name
  test "$1" = "$2"
  report $? "$3"
  test "$1" = "$2" || echo "# '$1' is not '$2'"
}
draw() { # directory, further options
  directory=$1
  shift
  $program --out "$work/$directory" --seed 3 --size 32 --samples-per-shard 64 "$@"
}
splits=train:400,val:200,test:100,pairs:100
draw one --splits $splits --class-maps --threads 1
report $? "draws four splits"
draw four --splits $splits --class-maps --threads 4
diff -r "$work/one" "$work/four" > /dev/null
report $? "four threads write the same bytes as one"
$program --out "$work/other" --seed 4 --size 32 --splits train:64
! cmp -s "$work/one/train-000000.tar" "$work/other/train-000000.tar"
report $? "another seed draws another world"

for split in train val test pairs; do
  mkdir "$work/$split"
  for shard in "$work/one/$split"-*.tar; do tar xf "$shard" -C "$work/$split"; done
  cat "$work/$split"/*.json > "$work/$split.json"
done
same "$(find "$work/one" -name '*.part' | wc -l)" 0 "no unfinished file is left"
same "$(ls "$work/train" | wc -l) $(ls "$work/val" | wc -l)" "1600 800" "jpg, txt, json and class.png for every sample"
same "$(ls "$work/one"/train-*.tar | wc -l) $(ls "$work/one"/pairs-*.tar | wc -l)" "7 2" "shards of the size asked for"
same "$(tar tf "$work/one/val-000000.tar" 2>&1 | head -n 2 | tr '\n' ' ')" "val00000000.jpg val00000000.txt " \
  "shards are plain tar files"
same "$(od -An -tx1 -N3 "$work/val/val00000000.jpg" | tr -d ' ')" ffd8ff "pictures are JPEG"

hashes() {
  for split; do sed 's/.*"hash": "\([0-9a-f]*\)".*/\1/' "$work/$split.json" | sort -u; done | sort
}
same "$(hashes train val test pairs | uniq -d | wc -l)" 0 "no scene occurs in two splits"
same "$(hashes val | wc -l)" 200 "scenes of a held-out split differ from each other"

pairs() { # the (shape, colour) pairs of a split
  grep -o '"shape": "[a-z]*", "colour": "[a-z]*"' "$work/$1.json" | sort -u
}
main_pairs() { # those of the first object
  sed 's/.*"objects": \[{\("shape": "[a-z]*", "colour": "[a-z]*"\).*/\1/' "$work/$1.json" | sort -u
}
pairs train > "$work/train.pairs"
main_pairs pairs > "$work/held.pairs"
same "$(comm -12 "$work/train.pairs" "$work/held.pairs" | wc -l) $(wc -l < "$work/held.pairs")" "0 10" \
  "the main pairs of the split pairs never occur in train"

for file in "$work"/train/*.txt; do cat "$file"; echo; done > "$work/captions"
cmp -s "$work/captions" "$work/one/captions.txt"
report $? "captions.txt holds every training caption in order"
sed 's/\..*//' "$work/captions" > "$work/heads"
sed 's/.*"short": "\([^"]*\)".*/\1/' "$work/train.json" > "$work/shorts"
cmp -s "$work/heads" "$work/shorts"
report $? "the short caption is the text before the first full stop"
same "$(grep -cE '(^| )[Aa] orange|(^| )[Aa]n [^o]|(^|[^a-z])in the (left|right|top|bottom)|  |one [a-z ]*s is' \
  "$work/captions")" 0 "articles and places are right"
same "$(grep -vc '^[A-Z][A-Za-z ,.]*\.$' "$work/captions")" 0 "captions are words, commas and full stops"
same "$(awk 'NF > 77 {n++} END {print (n > 10 && n < 120)}' "$work/captions")" 1 \
  "some captions are longer than the context"

negatives=$work/one/negatives-val.jsonl
awk -F'"' '{if ($14 == $18) bad++} END {exit bad > 0 || NR < 200}' "$negatives"
report $? "wrong captions differ from right ones"
# For every word the right captions hold as many as the wrong ones, kind by kind: fields are key 4, kind 8, right 14,
# wrong 18.
unbalanced() {
  tr 'A-Z' 'a-z' < "$1" | awk -F'"' '
    function add(text, sign,   words, n, i) {
      gsub(/[.,]/, " ", text); n = split(text, words, " ")
      for (i = 1; i <= n; i++) sum[$8 " " words[i]] += sign
    }
    {add($14, 1); add($18, -1)}
    END {for (word in sum) if (sum[word] != 0) bad++; print bad + 0}'
}
same "$(unbalanced "$negatives")" 0 "no word tells right from wrong captions"
same "$(unbalanced "$work/one/negatives-pairs.jsonl")" 0 "nor in the split of held-out pairs"
same "$(for kind in swap attribute object relation count late; do grep -c "\"kind\": \"$kind\"" "$negatives"; done |
  awk '$1 < 20' | wc -l)" 0 "every kind of negative occurs"

same "$(grep -o '"val[0-9]*"' "$work/one/groups-val.jsonl" | sort | uniq -d | wc -l)" 0 \
  "a picture is in one group at most"
key=$(sed -n '1s/.*"keys": \["\([a-z0-9]*\)".*/\1/p' "$work/one/groups-val.jsonl")
same "$(sed 's/\..*//' "$work/val/$key.txt")" \
  "$(sed -n '1s/.*"short": "\([^"]*\)".*/\1/p' "$work/one/groups-val.jsonl")" \
  "groups name the short caption that their pictures have"
same "$(awk '{n += gsub(/"val[0-9]*"/, "")} END {print (n >= 48)}' "$work/one/groups-val.jsonl")" 1 \
  "a quarter of the scenes comes in groups"

draw loose --splits $splits --class-maps --format csv
mkdir "$work/unpacked"
for shard in "$work"/one/val-*.tar; do tar xf "$shard" -C "$work/unpacked"; done
diff -r "$work/unpacked" "$work/loose/val" > /dev/null
report $? "loose files are the members of the shards"
same "$(sed 1d "$work/loose/train.csv" | cut -f2 | cmp - "$work/captions" && sed 1d "$work/loose/train.csv" | cut -f1 |
  xargs ls | wc -l)" 400 \
  "a csv lists pictures and captions"

$program --contact-sheet "$work/sheet.png" --size 16
same "$? $(od -An -tx1 -N4 "$work/sheet.png" | tr -d ' ')" "0 89504e47" "draws a contact sheet"
$program --out "$work/bad" --splits train:x 2> /dev/null
same "$?" 2 "a wrong split is an error of usage"
$program --out "$work/sheet.png/no" --samples 5 2> "$work/words"
same "$(test $? -ne 0 && grep -c 'sheet.png' "$work/words")" 1 \
  "a folder that cannot be made is named, and the program fails"
echo "1..$count"
