#!/bin/bash
# Two versions of Quiesce in one program do not link, and the linker's message says which symbol, and so why (runtime/base/version.h).
# The "other version" is this one with its version number changed: version.h and version.cc are all that a clash takes.
set -eu
root=$(dirname "$(readlink -f MODULE.bazel)")
cd "$(mktemp -d "$TEST_TMPDIR/clash.XXXXXX")"

abi=$(grep -o 'quiesce_abi_[0-9][0-9_]*' "$root/runtime/base/version.h" | head -n 1)
other=quiesce_abi_9999_1
[ -n "$abi" ] || { echo "FAILED: version.h declares no quiesce_abi_… symbol"; exit 1; }

compile() { # FOLDER: the library of a version, and a user of its headers
  clang++-19 -std=c++20 -I"$1" -c "$1/quiesce/runtime/base/version.cc" -o "$1/library.o"
  printf '#include "quiesce/runtime/base/version.h"\n#ifdef MAIN\nint main() {}\n#endif\n' >"$1/user.cc"
  clang++-19 -std=c++20 -I"$1" -c "$1/user.cc" -o "$1/user.o"
  clang++-19 -std=c++20 -I"$1" -DMAIN -c "$1/user.cc" -o "$1/main.o"
}
for folder in mine theirs; do
  mkdir -p $folder/quiesce/runtime/base
  cp "$root"/runtime/base/version.{h,cc} $folder/quiesce/runtime/base/
done
sed -i "s/\b$abi\b/$other/g" theirs/quiesce/runtime/base/version.*
compile mine
compile theirs

failures=0
links() { # WHAT OBJECT…
  clang++-19 "${@:2}" -o program 2>link.log && ./program || { echo "FAILED: $1 does not link or run:"; cat link.log; failures=$((failures + 1)); }
}
clashes() { # WHAT SYMBOL OBJECT…
  if clang++-19 "${@:3}" -o program 2>link.log; then
    echo "FAILED: $1 links, and nobody is told"; failures=$((failures + 1))
  elif ! grep -q "$2" link.log; then
    echo "FAILED: $1 does not link, but the message does not name $2:"; cat link.log; failures=$((failures + 1))
  else
    echo "$1: $(grep -m 1 "$2" link.log)"
  fi
}
links "one version" mine/main.o mine/user.o mine/library.o
clashes "an object compiled against other headers" $other mine/main.o theirs/user.o mine/library.o
clashes "two libraries" quiesce_only_one_version_per_program mine/main.o theirs/user.o mine/library.o theirs/library.o
exit $failures
