#!/bin/bash
# Runs server_test.py: server_test.sh SERVER COUNT_IO_LIBRARY
set -euo pipefail
ulimit -n "$(ulimit -Hn)" 2>/dev/null || true
exec python3 "$(dirname "$0")/server_test.py" "$@"
