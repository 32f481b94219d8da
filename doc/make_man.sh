#!/bin/sh
# make_man.sh PROGRAM VERSION: a manual page from the program's own --help; for memclip also from its table of keys.
set -eu
program=$1
name=$(basename "$program")
# What both readers need: a line of text as roff shows it.
roff='function roff(line) {
  gsub(/\\/, "\\e", line); gsub(/-/, "\\-", line)
  sub(/^[.\047]/, "\\\\\\&&", line)
  return line
}'

# Usage lines, a paragraph about the program, options (text from some column on, perhaps over several lines), further
# paragraphs.
"$program" --help | awk -v name="$name" -v version="$2" "$roff"'
  function trim(line) { gsub(/^ +| +$/, "", line); return line }
  /^Usage: / || /^  or:  / { sub(/^(Usage:|  or: ) */, ""); synopsis = synopsis ".br\n" roff($0) "\n"; next }
  /^$/ { part++; if (part > 2) notes = notes ".PP\n"; next }
  part == 0 { about = about (about == "" ? "" : " ") trim($0); next }
  /^Mandatory or optional/ || /^for any corresponding/ { next }
  part == 1 && /^ ? ? ? ? ? ?-/ {
    line = trim($0); option = line; text = ""
    if (match(line, /  +/)) { option = substr(line, 1, RSTART - 1); text = substr(line, RSTART + RLENGTH) }
    options = options ".TP\n.B \"" roff(option) "\"\n" (text == "" ? "" : roff(text) "\n"); next
  }
  part == 1 { if (trim($0) != "") options = options roff(trim($0)) "\n"; next }
  { if (sub(/^Exit status: */, "")) notes = notes ".SH EXIT STATUS\n"; notes = notes roff($0) "\n" }
  END {
    short = about; gsub(/ \([^)]*\)/, "", short); sub(/[.:;] .*|\.$/, "", short)
    printf ".TH %s 1 \"\" \"memclip %s\" \"User Commands\"\n", toupper(name), version
    printf ".SH NAME\n%s \\- %s\n", roff(name), roff(tolower(substr(short, 1, 1)) substr(short, 2))
    printf ".SH SYNOPSIS\n%s.SH DESCRIPTION\n%s\n.SH OPTIONS\n%s%s", substr(synopsis, 5), roff(about), options, notes
  }'
if [ "$name" = memclip ]; then
  printf '.SH INPUT\nGroups of a Fortran namelist file and their keys, each with its default.\n'
  "$program" --describe | awk "$roff"'
    /^&/ { printf ".SS \"%s\"\n", roff($0); next }
    /^  [^ ]/ && / =/ { sub(/^ +/, ""); printf ".TP\n.B \"%s\"\n", roff($0); type = 1; next }
    /Stages: .* On resume: / { print ".br" }
    { sub(/^ +/, ""); if ($0 != "") print roff($0); if (type) print ".br"; type = 0 }'
fi
printf '.SH SEE ALSO\nmemclip(1), and the notes on files and methods in the documentation folder of the installation.\n'
