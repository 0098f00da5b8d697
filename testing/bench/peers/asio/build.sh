#!/bin/bash
# Builds the Asio peer offline, with clang++-19 or else the system's C++ compiler, against Debian's Asio (1.22 or newer).
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
command -v "$cxx" >/dev/null || missing+=(g++ libc6-dev)
[ -e /usr/include/asio.hpp ] || missing+=(libasio-dev)
if [ ${#missing[@]} -gt 0 ]; then
  echo "build.sh: missing: ${missing[*]}. Install: apt-get install --no-install-recommends ${missing[*]}" >&2
  exit 3
fi

# Its includes are those of the repository, wherever this folder lies.
peers=$out/include/quiesce/testing/bench/peers
mkdir -p "$peers"
ln -sfn "$here" "$peers/asio"

# Asio 1.22 does not know that this Clang has the coroutines of C++20; without the two macros it leaves them out.
build() {
  "$cxx" -std=c++20 -O3 -DNDEBUG -DASIO_STANDALONE -DASIO_NO_DEPRECATED -DASIO_HAS_CO_AWAIT=1 -DASIO_HAS_STD_COROUTINE=1 \
    -Wall -Wextra -I"$out/include" "${@:2}" "$here"/src/*.cc -pthread -o "$1" >&2
}
build "$out/asio_peer"
build "$out/asio_peer_single" -DASIO_DISABLE_THREADS  # what asio_peer runs, too, if there is one worker
echo "$out/asio_peer"
