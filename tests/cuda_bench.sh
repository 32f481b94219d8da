#!/bin/sh
# cuda-bench at sizes that the emulated device does in seconds: every kernel and every step is told, as text and as one
# line of JSON. Its speeds mean nothing there.
. "${top_srcdir:-.}/tests/cuda_module.sh"
export MEMCLIP_EMULATION_REVERSE=0
number=0
result() { # result DESCRIPTION WRONG
  number=$((number + 1))
  [ -z "$2" ] && { echo "ok $number - $1"; return; }
  echo "$2" | sed 's/^/# /'
  echo "not ok $number - $1"
}
text=$(./cuda-bench --tiny --device cuda 2>&1) || text="$text
exit status $?"
missing=
for name in 'linear dW' 'gelu backward' 'norm backward fp32' 'attention backward' 'patches' 'memory 8^2 select' \
  'memory 32^2 read backward' 'experts backward' 'contrastive loss' 'adamw' 'step forward' 'step distill' \
  'step cached' 'step contrastive'; do
  case $text in *"$name"*"% of the"*) ;; *) missing="$missing$name is not there
" ;; esac
done
case $text in *"exit status"*) missing="$missing$text" ;; esac
result "kernels and steps" "$missing"
json=$(./cuda-bench --tiny --json --device cuda 'step forward') || json="exit status $?"
wrong=
case $json in
*"
"*) wrong="more than one line: $json" ;;
'{"device": "'*'"results": [{"name": "step forward", '*'}]}') ;;
*) wrong=$json ;;
esac
if [ -z "$wrong" ] && command -v python3 >/dev/null; then
  wrong=$(printf '%s' "$json" | python3 -c '
import json, sys
results = json.load(sys.stdin)["results"]
if len(results) != 1 or not all(0 < r["best"] <= r["ms"] <= r["worst"] and r["share"] > 0 for r in results):
    print(results)' 2>&1)
fi
result "one line of JSON" "$wrong"
result "a missing device is told" "$(MEMCLIP_CUDA_MODULE=/nowhere ./cuda-bench 2>&1 | grep -v 'cuda-bench: device')"
echo "1..$number"
