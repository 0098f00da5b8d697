#!/bin/bash
# Builds this codebase with nothing but its own WORKSPACE, and looks at what its program prints.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
trap '[ "${CI:-}" != true ] || ../../bazelw shutdown' EXIT
output=$(../../bazelw run --color=no --curses=no --noshow_progress --noshow_loading_progress --ui_event_filters=-info "$@" //:hello)
echo "$output"
for line in ' says Ok 42' 'its own runtime/base/check.h, its own lint/lint.h and its own testing/testing.h'; do
  grep -qF "$line" <<<"$output" || { echo "examples/consumer: no line with '$line'" >&2; exit 1; }
done
