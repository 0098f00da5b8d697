#!/bin/bash
# Runs report_test.py. -B: nothing is compiled into the source tree.
set -euo pipefail
exec python3 -B testing/bench/report_test.py "$@"
