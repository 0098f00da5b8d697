#!/bin/bash
# Each rule of layering.sh, broken on purpose in a small tree of its own: the checker has to see it. And a tree that keeps the rules has to pass.
set -u
checker=$PWD/testing/layering/layering.sh
failures=0

tree() { # makes an orderly tree and goes there
  cd "$(mktemp -d "$TEST_TMPDIR/tree.XXXXXX")" || exit 2
  put runtime/base/check.h '#include <vector>' '#include "absl/status/status.h"'
  put runtime/task/task.h '#include "quiesce/runtime/base/check.h"' '// #include "runtime/base/check.h"'
  put runtime/time/sleep.h '  #  include "quiesce/runtime/task/task.h"'
  put runtime/sync/mutex.h '#include "quiesce/runtime/task/task.h"'
  put runtime/sync/mutex_test.cc '#include "quiesce/testing/lab/lab.h"' '#include "quiesce/runtime/time/sleep.h"'
  put runtime/quiesce.h '#include "quiesce/runtime/time/sleep.h"' '#include "quiesce/runtime/sync/mutex.h"'
  put capgen/schema/facts.h
  put lint/lint.h '#include "quiesce/capgen/schema/facts.h"'
  put grpc_adapter/server.h '#include "quiesce/runtime/quiesce.h"'
  put testing/lab/lab.h '#include "quiesce/grpc_adapter/server.h"' '#include "quiesce/lint/lint.h"'
  put examples/server.cc '#include "quiesce/runtime/quiesce.h"'
  put examples/consumer/main.cc '#include "runtime/base/check.h"'
  put runtime/sync/BUILD.bazel 'quiesce_cc_library(' '    name = "mutex",' '    visibility = ["//testing:__subpackages__"],' \
    '    deps = ["//runtime/task"],' ')' '' 'quiesce_cc_test(' '    name = "mutex_test",' '    deps = [' '        "//testing/lab",' '    ],' ')'
}
put() { # FILE LINE…
  local file=$1; shift
  mkdir -p "$(dirname "$file")"
  if [ $# = 0 ]; then : >"$file"; else printf '%s\n' "$@" >"$file"; fi
}
accepts() { # WHAT
  if ! out=$("$checker" . 2>&1); then echo "FAILED: rejects $1:"; echo "$out"; failures=$((failures + 1)); fi
}
rejects() { # WHAT MESSAGE-PATTERN…
  local what=$1 pattern; shift
  if out=$("$checker" . 2>&1); then echo "FAILED: accepts $what"; failures=$((failures + 1)); return; fi
  for pattern; do
    grep -qE "$pattern" <<<"$out" || { echo "FAILED: on $what, no line matches: $pattern"; echo "$out"; failures=$((failures + 1)); }
  done
}

tree; accepts "a tree that keeps the rules"
tree; put runtime/base/check.h '' '#include "quiesce/runtime/task/task.h"'
rejects "an include that points up" '^runtime/base/check.h:2: includes "quiesce/runtime/task/task.h" of runtime/task \(floor 4\), above runtime/base \(floor 0\)' '1 violations'
tree; put runtime/time/sleep.h '#include "quiesce/runtime/sync/mutex.h"'
rejects "an include between two primitives" 'sleep.h:1: .* runtime/sync \(floor 6\), beside runtime/time'
tree; put runtime/sync/mutex.h '#include "quiesce/testing/lab/lab.h"'
rejects "production code that includes test code" 'mutex.h:1: .* may not depend on testing'
tree; put runtime/task/task.h '#include "quiesce/runtime/quiesce.h"'
rejects "the runtime including its umbrella" 'task.h:1: .* of runtime \(floor 9\), above runtime/task'
tree; put lint/lint.h '#include "quiesce/runtime/base/check.h"'
rejects "a tool that includes the runtime" 'lint.h:1: .* lint \(tools floor 1\) may not depend on runtime'
tree; put runtime/base/check.h '#include "quiesce/capgen/schema/facts.h"'
rejects "the runtime including a tool" 'check.h:1: .* may not depend on tools'
tree; put capgen/main.cc '#include "quiesce/lint/lint.h"'
rejects "one tool including another" 'main.cc:1: .* beside capgen'
tree; put testing/lab/lab.h '#include "quiesce/examples/hello.h"'
rejects "testing including an example" 'lab.h:1: .* may not depend on examples'
tree; put runtime/sync/mutex_test.cc '#include "quiesce/examples/hello.h"'
rejects "a test including an example" 'mutex_test.cc:1: .* may not depend on examples'
tree; put runtime/task/task.h '#include "runtime/base/check.h"'
rejects "an include of ours without quiesce/" 'Write "quiesce/runtime/base/check.h"'
tree; put runtime/base/slab.cc '#include "check.h"'
rejects "an include of a neighbour by its short name" 'Write "quiesce/runtime/base/check.h"'
tree; put runtime/gossip/gossip.h '#include "quiesce/runtime/base/check.h"'
rejects "a folder without a floor" 'gossip.h:1: folder runtime/gossip has no floor'
tree; put runtime/quiesce.h '#include "quiesce/runtime/gossip/gossip.h"'
rejects "an include of a folder without a floor" 'quiesce.h:1: .* of folder runtime/gossip, which has no floor'
tree; put runtime/task/BUILD.bazel 'quiesce_cc_library(' '    name = "task",' '    deps = [' '        ":x",' '        "//runtime/region:region",' '    ],' ')'
rejects "a library that depends on a higher floor" '^runtime/task/BUILD.bazel:5: quiesce_cc_library depends on "//runtime/region" of runtime/region \(floor 5\), above'
tree; put runtime/task/BUILD.bazel 'quiesce_cc_library(' '    name = "task",' '    deps = ["//testing/lab"],' ')'
rejects "a library that depends on test code" 'BUILD.bazel:3: .* may not depend on testing'
tree; put runtime/sync/BUILD.bazel 'quiesce_cc_library(' '    name = "mutex_testing",' '    testonly = True,' '    deps = ["//testing/lab"],' ')'
accepts "a testonly library that depends on test code"
cd "$(mktemp -d "$TEST_TMPDIR/tree.XXXXXX")" || exit 2
rejects "an empty tree" 'no source file'

[ $failures = 0 ] || { echo "$failures failed"; exit 1; }
echo "every rule of the layering is enforced"
