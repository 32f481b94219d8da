#!/bin/sh
# Sources are laid out as .clang-format says, judged by the version that the layout was made with; other versions differ.
source=${top_srcdir:-.}
echo 1..1
clang-format --version 2>/dev/null | grep -q 'version 14\.' || { echo 'ok 1 - format # SKIP clang-format 14 is not installed'; exit 0; }
folders="$source/src $source/prep $source/postproc $source/bench $source/tests $source/cuda"
wrong=$(find $folders \( -name '*.[ch]' -o -name '*.cu' -o -name '*.cc' \) ! -name '*.pb-c.*' -exec clang-format --style=file --dry-run {} + 2>&1 |
  sed -n 's/^\([^:]*\):.*clang-format-violations.*/\1/p' | sort -u)
if [ -z "$wrong" ]; then
  echo "ok 1 - format"
else
  echo "$wrong" | sed 's/^/# clang-format -i /'
  echo "not ok 1 - format"
fi
