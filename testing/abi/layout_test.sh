#!/bin/bash
# Every public type has one size and alignment, whatever the options of the file that includes its header. Arguments: assembly files of layout.cc.
set -eu
numbers() { awk '/^quiesce_layout:/ { on = 1; next } on && $1 == ".quad" { printf "%s ", $2; next } on { exit }' "$1"; }
expected=$(numbers "$1")
[ -n "$expected" ] || { echo "FAILED: no quiesce_layout in $1"; exit 1; }
echo "sizes and alignments: $expected"
failures=0
for file; do
  if [ "$(numbers "$file")" != "$expected" ]; then
    echo "FAILED: in $(basename "$file") they are: $(numbers "$file")"
    failures=$((failures + 1))
  fi
done
if [ $failures != 0 ]; then
  echo "The numbers are in the order of layout.cc: size and alignment of each type. A member that only some builds have belongs into a side record."
fi
exit $failures
