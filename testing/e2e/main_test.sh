#!/bin/bash
# Runs main_test.py: main_test.sh MAIN_PROGRAM
set -euo pipefail
exec python3 "$(dirname "$0")/main_test.py" "$@"
