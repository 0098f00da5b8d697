#!/bin/bash
# header_budget_test.sh: what it costs a user's compiler to parse our headers, in units of absl/status/statusor.h, which such a codebase parses anyway.
#
# Why:      a header that everybody includes is paid for in every object file of a large codebase.
# Measure:  the syntax-tree nodes (types, declarations, statements) that Clang makes, from its own count (-print-stats). That is the work of parsing and of
#           instantiating templates, and it is the same number in every run on every machine, so this test cannot flicker. The processor time (least of several
#           runs, taken in turns) is printed beside it, and fails only when far over the budget: it would notice a cost that makes no nodes, such as constant
#           evaluation.
# Repair:   on failure the includes that cost most are listed; a forward declaration, or a .cc file, takes them out of the header.
BASE=absl/status/statusor.h
BUDGETS='
quiesce/runtime/task/task.h   1.3
quiesce/runtime/quiesce.h     1.8
'
RUNS=5
TIME_TOLERANCE=1.25
set -eu

. testing/header_budget/collect_headers.sh
cd "$work"

parse() { echo "#include $1" | clang-19 -std=c++20 -x c++ -fsyntax-only -I. "${@:2}" -; }
nodes() { parse "$1" -Xclang -print-stats 2>&1 | awk '/^ *[0-9]+ (types|decls|stmts\/exprs) total/ { n += $1 } END { print n + 0 }'; }
milliseconds() { local TIMEFORMAT='%3U %3S'; { time parse "$1" 2>/dev/null; } 2>&1 | awk '{ print int(($1 + $2) * 1000) }'; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", a / b }'; }
exceeds() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a > b) }'; }

mapfile -t headers < <(awk 'NF { print $1 }' <<<"$BUDGETS")
for header in "${headers[@]}"; do
  parse "\"$header\"" || { echo "FAILED: $header does not parse by itself; a header includes what it needs."; exit 1; }
done

declare -A time
for _ in $(seq $RUNS); do
  for header in "$BASE" "${headers[@]}"; do
    now=$(milliseconds "\"$header\"")
    [ "${time[$header]:-999999}" -le "$now" ] || time[$header]=$now
  done
done

base=$(nodes "\"$BASE\"")
[ "$base" -gt 10000 ] || { echo "FAILED: clang-19 -print-stats counts $base nodes for $BASE: its output has changed, mend nodes() in this file."; exit 1; }
printf '%-32s %9s nodes        %5s ms of processor time\n' "$BASE" "$base" "${time[$BASE]}"

# What the header pulls in, each by itself, dearest first.
dearest() {
  local include
  parse "\"$1\"" -H 2>&1 >/dev/null | awk '$1 ~ /^\.+$/ && sub(/^\.\//, "", $2) + 1 && $2 ~ /^quiesce\// { print $2 }' | sort -u |
    while read -r include; do grep -ohE '^#include [<"][^>"]+[>"]' "$include" || true; done | awk '{ print $2 }' | sort -u |
    while read -r include; do printf '%6s  %s\n' "$(ratio "$(nodes "$include")" "$base")" "$include"; done | sort -rn | head -n 12
}

failed=0
while read -r header budget; do
  [ -n "$header" ] || continue
  mine=$(nodes "\"$header\"")
  by_nodes=$(ratio "$mine" "$base")
  by_time=$(ratio "${time[$header]}" "${time[$BASE]}")
  printf '%-32s %9s nodes %5s  %5s ms %5s  budget %s\n' "$header" "$mine" "$by_nodes" "${time[$header]}" "$by_time" "$budget"
  if exceeds "$by_nodes" "$budget" || exceeds "$by_time" "$(awk -v b="$budget" -v t=$TIME_TOLERANCE 'BEGIN { print b * t }')"; then
    failed=1
    echo "FAILED: parsing $header costs $by_nodes times (by time: $by_time times) what $BASE costs; its budget is $budget (by time: $TIME_TOLERANCE times that)."
    echo "What it includes, directly or through our own headers, each by itself:"
    dearest "$header"
  fi
done <<<"$BUDGETS"
exit $failed
