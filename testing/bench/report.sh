#!/bin/bash
# Runs report.py, which says what it does: ./bazelw run -c opt //testing/bench:report -- --help
set -euo pipefail
exec python3 "${RUNFILES_DIR:-$0.runfiles}/quiesce/testing/bench/report.py" "$@"
