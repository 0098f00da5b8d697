#!/bin/bash
# Builds the Tokio peer offline, from Debian's crate sources, with whichever cargo is there (Debian 12's or newer).
#
# Usage: build.sh OUTPUT_DIR     Everything goes there, nothing into this folder. Prints the path of the binary.
# Exit:  0 built; 3 a prerequisite is missing (stderr names the apt packages); else cargo's own.
# CARGO=PATH chooses a cargo; CRATES=DIR another folder of crate sources.
set -euo pipefail

[ $# -eq 1 ] || { echo "usage: build.sh OUTPUT_DIR" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)
crates=${CRATES:-/usr/share/cargo/registry}
cargo=${CARGO:-cargo}

missing=()
command -v "$cargo" >/dev/null || missing+=(cargo)
command -v "${RUSTC:-rustc}" >/dev/null || missing+=(rustc)
command -v cc >/dev/null || missing+=(gcc libc6-dev)
has_crate() { compgen -G "$crates/$1-[0-9]*" >/dev/null; }
has_crate tokio || missing+=(librust-tokio-dev)
has_crate libc || missing+=(librust-libc-dev)
if [ ${#missing[@]} -gt 0 ]; then
  echo "build.sh: missing: ${missing[*]}. Install: apt-get install --no-install-recommends ${missing[*]}" >&2
  exit 3
fi

# cargo writes Cargo.lock beside Cargo.toml, so it gets a copy; a lock from another Debian release would not match.
crate=$out/crate
rm -rf "$crate"
mkdir -p "$crate/.cargo"
cp -rL "$here/Cargo.toml" "$here/src" "$crate/"
cat >"$crate/.cargo/config.toml" <<CONFIG
[source.crates-io]
replace-with = "debian"
[source.debian]
directory = "$crates"
CONFIG

# A CARGO_HOME and a target folder of its own: no user's configuration or cache takes part.
cd "$crate"
env -u RUSTFLAGS CARGO_HOME="$out/cargo-home" CARGO_TARGET_DIR="$out/target" \
  "$cargo" build --release --offline --quiet >&2
echo "$out/target/release/tokio_peer"
