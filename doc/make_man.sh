#!/bin/sh
# make_man.sh PROGRAM VERSION: a manual page from the program's own --help; for memclip also from its table of keys.
set -eu
program=$1
name=$(basename "$program")
escape() { sed -e 's/\\/\\e/g' -e 's/-/\\-/g' -e "s/^'/\\\\(aq/" -e 's/^\./\\\&./'; }

"$program" --help | awk -v name="$name" -v version="$2" '
  NR == 1 { sub(/^Usage: */, ""); usage = $0; next }
  NR == 2 && !/^ *-/ { about = $0; rest = ""; next }
  { rest = rest $0 "\n" }
  END {
    short = about; sub(/\..*/, "", short)
    printf ".TH %s 1 \"\" \"memclip %s\" \"User Commands\"\n.SH NAME\n%s \\- %s\n.SH SYNOPSIS\n.nf\n%s\n.fi\n.SH DESCRIPTION\n%s\n.nf\n%s.fi\n", toupper(name), version, name, tolower(substr(short, 1, 1)) substr(short, 2), usage, about, rest
  }' | awk '/^\./ { print; next } { gsub(/\\-/, "\001"); gsub(/\\/, "\\e"); gsub(/-/, "\\-"); gsub(/\001/, "\\-"); sub(/^'"'"'/, "\\(aq"); print }'
if [ "$name" = memclip ]; then
  printf '.SH INPUT\n.nf\n'
  "$program" --describe | escape
  printf '.fi\n'
fi
printf '.SH SEE ALSO\nmemclip(1), the files in share/doc/memclip\n'
