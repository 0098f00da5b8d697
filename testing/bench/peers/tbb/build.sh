#!/bin/bash
# Builds the TBB peer with Debian's libtbb-dev, by clang++-19 or, where that is missing, by c++.
#
# Usage: build.sh OUTPUT_DIR     Everything goes there, nothing into this folder. Prints the path of the binary.
# Exit:  0 built; 3 a prerequisite is missing (stderr names the apt packages); else the compiler's own.
# CXX=PATH chooses a compiler.
set -euo pipefail

[ $# -eq 1 ] || { echo "usage: build.sh OUTPUT_DIR" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)
cxx=${CXX:-$(command -v clang++-19 || echo c++)}

missing=()
if ! command -v "$cxx" >/dev/null; then
  missing+=(g++ libtbb-dev)
elif ! "$cxx" -E -x c++ -include oneapi/tbb/version.h /dev/null >/dev/null 2>&1; then
  missing+=(libtbb-dev)
fi
if [ ${#missing[@]} -gt 0 ]; then
  echo "build.sh: missing: ${missing[*]}. Install: apt-get install --no-install-recommends ${missing[*]}" >&2
  exit 3
fi

"$cxx" -std=c++20 -O3 -DNDEBUG -Wall -Wextra -o "$out/tbb_peer" "$here/tbb_peer.cc" -ltbb >&2
echo "$out/tbb_peer"
