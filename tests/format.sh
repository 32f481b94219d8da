#!/bin/sh
# Sources are laid out as .clang-format says, judged by the version that the layout was made with; other versions
# differ. Lines of scripts and of the build stay within 120 columns.
source=${top_srcdir:-.}
echo 1..2
result() { # result NUMBER DESCRIPTION WRONG, a line each
  [ -z "$3" ] && { echo "ok $1 - $2"; return; }
  echo "$3" | sed 's/^/# /'
  echo "not ok $1 - $2"
}
long=$(cd "$source" && awk 'length($0) > 120 { print FILENAME ":" FNR ": " length($0) " columns" }' \
  Makefile.am configure.ac m4/memclip*.m4 cuda/*.mk check demo inputs/demo/run tests/*.sh tests/*/*.sh doc/*.sh \
  packaging/*.sh slurm/* 2>&1)
result 1 "lines of scripts and the build" "$long"
clang-format --version 2>/dev/null | grep -q 'version 14\.' ||
  { echo 'ok 2 - format # SKIP clang-format 14 is not installed'; exit 0; }
folders="$source/src $source/prep $source/postproc $source/bench $source/tests $source/cuda"
wrong=$(find $folders \( -name '*.[ch]' -o -name '*.cu' -o -name '*.cc' \) ! -name '*.pb-c.*' \
  -exec clang-format --style=file --dry-run {} + 2>&1 |
  sed -n 's/^\([^:]*\):.*clang-format-violations.*/clang-format -i \1/p' | sort -u)
result 2 "format" "$wrong"
