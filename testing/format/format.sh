#!/bin/bash
# format.sh: one layout for all files, so that a diff shows what changed and reviews are about the rest.
#
# Usage:   testing/format/format.sh           prints what is not laid out as the tools would do it; exit code 1 if anything is
#          testing/format/format.sh --fix     lays it out
# C++ by clang-format 19 (.clang-format), BUILD and .bzl files by buildifier (third_party/package.json), which is installed by npm into the user's cache
# folder. A machine without npm skips buildifier and says so; where CI=true that is a failure.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
fix=0
case ${1:-} in
  '') ;;
  --fix) fix=1 ;;
  *) echo "usage: testing/format/format.sh [--fix]" >&2; exit 2 ;;
esac
failures=0

# Tracked files, and new ones that are not ignored.
files() { git ls-files -z --cached --others --exclude-standard -- "$@" | while IFS= read -r -d '' file; do [ ! -e "$file" ] || printf '%s\0' "$file"; done; }

./bazelw install format

mapfile -d '' -t cpp < <(files '*.h' '*.cc' '*.inc')
if [ ${#cpp[@]} != 0 ]; then
  if [ $fix = 1 ]; then
    clang-format-19 -i "${cpp[@]}"
  elif ! wrong=$(clang-format-19 --dry-run --Werror --ferror-limit=1 "${cpp[@]}" 2>&1); then
    echo "These C++ files are not laid out by .clang-format (testing/format/format.sh --fix does it):"
    grep -E '^[^ ]+:[0-9]+:[0-9]+: error:' <<<"$wrong" | sed 's/: error: .*//; s/^/  /'
    failures=$((failures + 1))
  fi
fi

buildifier() {
  local cache
  cache=${XDG_CACHE_HOME:-$HOME/.cache}/quiesce/$(cksum <third_party/package.json | cut -d' ' -f1)
  if [ ! -x "$cache/node_modules/.bin/buildifier" ]; then
    mkdir -p "$cache"
    cp third_party/package.json "$cache/"
    npm install --prefix "$cache" --no-package-lock --no-audit --no-fund --silent >/dev/null
  fi
  "$cache/node_modules/.bin/buildifier" "$@"
}

mapfile -d '' -t bazel < <(files 'WORKSPACE' '*/WORKSPACE' 'MODULE.bazel' 'BUILD.bazel' '*/BUILD.bazel' '*.BUILD' '*.bzl')
if ! command -v npm >/dev/null; then
  echo "SKIPPED: buildifier (BUILD and .bzl files): npm, which brings it, is not installed."
  [ "${CI:-}" != true ] || { echo "CI=true: that is a failure."; failures=$((failures + 1)); }
elif [ $fix = 1 ]; then
  buildifier -mode=fix -lint=fix "${bazel[@]}"
elif ! wrong=$(buildifier -mode=check -lint=warn "${bazel[@]}" 2>&1); then
  echo "These BUILD or .bzl files are not as buildifier wants them (testing/format/format.sh --fix does what can be done for you):"
  sed 's/^/  /' <<<"$wrong"
  failures=$((failures + 1))
fi

[ $failures = 0 ] || exit 1
echo "format: ${#cpp[@]} C++ files and ${#bazel[@]} Bazel files are in order"
