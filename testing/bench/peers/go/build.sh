#!/bin/bash
# Builds the Go peer offline, with whichever go is there (Debian 12's 1.19 or newer).
#
# Usage: build.sh OUTPUT_DIR     Everything goes there, nothing into this folder. Prints the path of the binary.
# Exit:  0 built; 3 a prerequisite is missing (stderr names the apt packages); else go's own.
# GO=PATH chooses a go.
set -euo pipefail

[ $# -eq 1 ] || { echo "usage: build.sh OUTPUT_DIR" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)
go=${GO:-go}

if ! command -v "$go" >/dev/null; then
  echo "build.sh: missing: golang-go. Install: apt-get install --no-install-recommends golang-go" >&2
  exit 3
fi

# go may write to go.mod, and Bazel's sources are links, so it gets a copy.
module=$out/module
rm -rf "$module"
mkdir -p "$module"
cp -L "$here"/*.go "$here/go.mod" "$module/"

# Caches of its own, and no user's configuration (GOENV). Without cgo no C compiler is needed.
cd "$module"
env -u GOROOT -u GOEXPERIMENT -u GOAMD64 GOENV=off GO111MODULE=on GOWORK=off GOTOOLCHAIN=local GOFLAGS=-mod=mod GOPROXY=off \
  GOPATH="$out/gopath" GOMODCACHE="$out/gopath/mod" GOCACHE="$out/cache" CGO_ENABLED=0 \
  "$go" build -trimpath -buildvcs=false -o "$out/go_peer" . >&2
echo "$out/go_peer"
