#!/bin/sh
# Every folder of src/ includes only what tests/floors.txt allows, and every header compiles alone.
source=${top_srcdir:-.}
bad=$(
  sed '/^#/d' "$source/tests/floors.txt" | while IFS=: read -r folder allowed; do
    [ "$folder" = . ] && files="$source/src/*.c" || files=$(find "$source/src/$folder" -name '*.[ch]')
    for file in $files; do
      sed -n 's/^ *# *include "\([^"]*\)".*/\1/p' "$file" | while read -r include; do
        case "$include" in
        */*) used=${include%%/*} ;;
        *) continue ;;
        esac
        case " $folder $allowed " in *" $used "*) ;; *) echo "$file includes $include" ;; esac
      done
    done
  done
)
echo 1..2
if [ -z "$bad" ]; then echo "ok 1 - floors"; else echo "$bad" | sed 's/^/# /'; echo "not ok 1 - floors"; fi
alone=""
for header in $(find "$source/src" -name '*.h'); do
  # shellcheck disable=SC2086
  ${CC:-cc} -std=gnu11 ${HEADER_CFLAGS:-$(mpicc --showme:compile)} -I"$source/src" -I. -fsyntax-only -x c "$header" \
    2>/dev/null || alone="$alone $header"
done
if [ -z "$alone" ]; then echo "ok 2 - headers compile alone"; else echo "not ok 2 - headers compile alone:$alone"; fi
