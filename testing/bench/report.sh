#!/bin/bash
# Runs report.py, which says what it does: ./bazelw run -c opt //testing/bench:report -- --help
set -euo pipefail
# -B: nothing is compiled into the source tree.
exec python3 -B "${RUNFILES_DIR:-$0.runfiles}/quiesce/testing/bench/report.py" "$@"
