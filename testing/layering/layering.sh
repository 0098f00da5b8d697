#!/bin/bash
# layering.sh: checks that every include and every Bazel dependency points down.
#
# Usage:   testing/layering/layering.sh [ROOT]      prints each violation; exit code 1 if there is one.
# Why:     a primitive that reaches up, or sideways, can no longer be used, tested or replaced by itself.
#
# The rules, for a file in folder A that includes a file of folder B ("quiesce/B/…"):
#   1. A and B are the same folder, or B is on a lower floor, or on the same floor unless that floor says `apart`.
#   2. A may only look into its own tower and into those that its line names.
#   3. Each include of our own code begins with "quiesce/": a consumer has folders named runtime and testing too.
#   4. Each folder with code has a line here (a folder below it counts to it, unless it has a line of its own).
# The same holds for `deps` in BUILD.bazel. Files named *_test.cc, *_bench.cc, *_testing.*, *_test_support.* and rules named *_test or marked testonly stand
# with their neighbours but see what testing/ sees, since nothing is built on them.
FLOORS='
# folder               tower     floor  remarks
runtime/base           runtime   0
runtime/outcome        runtime   1
runtime/budget         runtime   1
runtime/trace          runtime   1
runtime/scheduler      runtime   2
runtime/reactor        runtime   2
runtime/cx             runtime   3
runtime/task           runtime   4
runtime/region         runtime   5
runtime/obligation     runtime   5
runtime/time           runtime   6      apart
runtime/sync           runtime   6      apart
runtime/channel        runtime   6      apart
runtime/net            runtime   6      apart
runtime/signal         runtime   6      apart
runtime/process        runtime   6      apart
runtime/fs             runtime   6      apart
runtime/blocking       runtime   6      apart
runtime/random         runtime   6      apart
runtime/combinator     runtime   7
runtime/supervise      runtime   8
runtime/http           runtime   8
runtime/tls            runtime   8
runtime                runtime   9
grpc_adapter           runtime   10
capgen/schema          tools     0
capgen                 tools     1      apart
lint                   tools     1      apart
testing                testing   11     sees:runtime sees:tools
examples               examples  12     sees:runtime sees:testing
'
set -u
root=${1:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)}
cd "$root" || exit 2

# examples/consumer is a codebase of its own, with a layout of its own.
mapfile -t files < <(find runtime grpc_adapter capgen lint testing examples \
  \( -path examples/consumer -o -name target -o -name 'bazel-*' \) -prune -o \
  -type f \( -name '*.h' -o -name '*.cc' -o -name '*.inc' -o -name BUILD.bazel \) -print 2>/dev/null | sort)
if [ ${#files[@]} = 0 ]; then
  echo "layering: no source file below $root; is this the root of the project?" >&2
  exit 2
fi

# Files that exist, for rule 3. awk has no test -e.
{ printf '%s\n' "${files[@]}" | grep -v 'BUILD\.bazel$'; } >"${listing:=$(mktemp)}"
trap 'rm -f "$listing"' EXIT

awk -v floors="$FLOORS" -v listing="$listing" '
function parent(path) { return match(path, /\/[^\/]*$/) ? substr(path, 1, RSTART - 1) : "" }
# The line of FLOORS that a folder belongs to; "" if none. Files directly in runtime/ are of the umbrella, folders below it are not.
function room(folder, up) {
  if (folder in floor) return folder
  for (up = parent(folder); up != ""; up = parent(up)) if (up in floor) return up == "runtime" ? "" : up
  return ""
}
function report(what) { print FILENAME ":" FNR ": " what; ++violations }

# `from` (a folder of FILENAME, seen as `view`) uses `to` by way of `how`.
function check(from, view, to, how, a, b) {
  b = room(to)
  if (b == "") {
    report(how " of folder " to ", which has no floor.\n    Give it a line in FLOORS of testing/layering/layering.sh (and in ARCHITECTURE.md).")
    return
  }
  a = room(from)
  if (a == b) return
  if (view != "") a = view
  if (a == b) return
  if (tower[a] != tower[b] && index(remarks[a], "sees:" tower[b]) == 0) {
    report(how " of " name(b) ", but " name(a) " may not depend on " tower[b] ".\n    Move what both need below them, or turn the dependency round.")
  } else if (tower[a] == tower[b] && floor[b] > floor[a]) {
    report(how " of " name(b) ", above " name(a) ". A dependency points to a lower floor.\n    Move this code up, or let the lower floor define an interface that the higher one implements.")
  } else if (tower[a] == tower[b] && floor[b] == floor[a] && index(remarks[a], "apart")) {
    report(how " of " name(b) ", beside " name(a) ". Folders of this floor never use one another.\n    Move what both need to a lower floor, or what needs both to a higher one.")
  }
}
function name(folder) { return folder " (" (tower[folder] == "tools" ? "tools " : "") "floor " floor[folder] ")" }

BEGIN {
  n = split(floors, line, "\n")
  for (i = 1; i <= n; ++i) {
    if (line[i] ~ /^#/ || split(line[i], field, /[ \t]+/) < 3) continue
    tower[field[1]] = field[2]; floor[field[1]] = field[3] + 0
    remarks[field[1]] = " " field[4] " " field[5] " "
  }
  while ((getline path < listing) > 0) exists[path] = 1
}

FNR == 1 {
  folder = parent(FILENAME)
  build = FILENAME ~ /BUILD\.bazel$/
  view = !build && FILENAME ~ /_(test\.cc|bench\.cc|testing\.h|testing\.cc|test_support\.h|test_support\.cc)$/ ? "testing" : ""
  rule = ""; in_deps = 0
  if (room(folder) == "" && !build)
    report("folder " folder " has no floor.\n    Give it a line in FLOORS of testing/layering/layering.sh (and in ARCHITECTURE.md).")
}

!build && /^[ \t]*#[ \t]*(include|import)[ \t]*["<]/ {
  match($0, /["<][^">]*[">]/)
  target = substr($0, RSTART + 1, RLENGTH - 2)
  if (target ~ /^quiesce\//) check(folder, view, parent(substr(target, 9)), "includes \"" target "\"")
  else if (target in exists) report("includes \"" target "\" of this project.\n    Write \"quiesce/" target "\": a codebase that uses ours may have a file of that name.")
  else if ((folder "/" target) in exists) report("includes \"" target "\", found beside it.\n    Write \"quiesce/" folder "/" target "\": includes are the same wherever they stand.")
}

# A rule is collected whole, since testonly may follow deps.
build && /^[a-z_]+\(/ { rule = $0; sub(/\(.*/, "", rule); testonly = rule ~ /_test$/; held = 0 }
build && rule != "" {
  if ($0 ~ /^[ \t]*testonly = (True|1)/) testonly = 1
  text = $0; sub(/#.*/, "", text)
  if (text ~ /^[ \t]*(deps|implementation_deps) = /) in_deps = 1
  if (in_deps) {
    rest = text
    while (match(rest, /"\/\/[^":]*/)) {
      held_target[++held] = substr(rest, RSTART + 3, RLENGTH - 3); held_line[held] = FNR
      rest = substr(rest, RSTART + RLENGTH)
    }
    if (text ~ /\],?[ \t]*$/) in_deps = 0
  }
  if ($0 ~ /^\)/) {
    for (i = 1; i <= held; ++i) {
      saved = FNR; FNR = held_line[i]
      check(folder, testonly ? "testing" : "", held_target[i], rule " depends on \"//" held_target[i] "\"")
      FNR = saved
    }
    rule = ""
  }
}

END {
  if (violations) {
    print ""
    print "layering: " violations " violations. The floors (testing/layering/layering.sh explains the rules):"
    print floors
    exit 1
  }
}
' "${files[@]}"
status=$?
[ $status != 0 ] || echo "layering: ${#files[@]} files, every include points down"
exit $status
