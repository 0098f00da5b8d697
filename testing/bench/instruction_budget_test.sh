#!/bin/bash
# Runs instruction_budget.py, which says what it does. -B: nothing is compiled into the source tree.
set -euo pipefail
exec python3 -B testing/bench/instruction_budget.py "$@"
