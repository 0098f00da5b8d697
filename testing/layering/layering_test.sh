#!/bin/bash
# Runs layering.sh over the working tree. A Bazel test normally sees the files it names and no others; this one follows the link of one such file into the
# tree (hence `local` and `external` in BUILD.bazel: no sandbox, and never an answer from the cache).
set -eu
root=$(dirname "$(readlink -f MODULE.bazel)")
exec testing/layering/layering.sh "$root"
