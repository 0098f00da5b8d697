#!/bin/bash
# mutate.sh SOURCE NAME OLD NEW: prints SOURCE, which messages call NAME, with NEW in place of OLD. Fails unless OLD is there exactly
# once: a mutation that has lost its place would test the runtime as it is, and a test that it has to fail would be in error.
set -euo pipefail
source=$1 name=$2 old=$3 new=$4

text=$(cat "$source")
after=${text#*"$old"}
if [ "$after" = "$text" ]; then
  printf '%s: the text to be changed is not there:\n%s\n' "$name" "$old" >&2
  exit 1
fi
if [ "${after#*"$old"}" != "$after" ]; then
  printf '%s: the text to be changed is there more than once:\n%s\n' "$name" "$old" >&2
  exit 1
fi
printf '#line 1 "%s"\n' "$name"
printf '%s%s%s\n' "${text%%"$old"*}" "$new" "$after"
