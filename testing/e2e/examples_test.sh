#!/bin/bash
# Runs the examples that end by themselves, and checks what they claim.
#
# Usage: examples_test.sh PIPELINE RACE
set -u
pipeline=$1 race=$2
failures=0
expect() { # WHAT EXIT-CODE PATTERN COMMAND…
  local what=$1 code=$2 pattern=$3 output status
  shift 3
  output=$("$@" 2>&1)
  status=$?
  if [ $status != "$code" ] || ! grep -qE "$pattern" <<<"$output"; then
    echo "FAILED: $what: exit code $status (wanted $code), output (wanted '$pattern'):"
    echo "$output"
    failures=$((failures + 1))
  fi
}

# Every block that was read is written, and about half of them are not touched.
counts='^512 blocks; read ([0-9]+), written \1 \(verified\), untouched [1-9][0-9]*; drained in '
expect "a pipeline that is cancelled half-way" 0 "$counts" "$pipeline" --mebibytes=32
expect "a pipeline that runs to its end" 0 '^512 blocks; read 512, written 512 \(verified\), untouched 0$' "$pipeline" --mebibytes=32 --stop_after=1
expect "a pipeline over a file of ours" 0 'written ([0-9]+) \(verified\)' "$pipeline" --input="$pipeline"
expect "a pipeline without its file" 1 "cannot open '/no/such/file'" "$pipeline" --input=/no/such/file
expect "a race" 0 '^branches left over after any round: 0$' "$race" --rounds=100
expect "a race with nobody" 1 'refused|UNAVAILABLE|no server' "$race" --servers=127.0.0.1:1 --rounds=1
[ $failures = 0 ] && echo "the examples do what they say"
exit $failures
