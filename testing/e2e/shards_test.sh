#!/bin/bash
# One exploration in four processes, as Bazel runs the shards of a test, on as many machines; and what `aggregate` says of what
# they have left.
#   shards_test.sh SHARDED_TEST AGGREGATE

set -u
test=$1
aggregate=$2
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
fail() { echo "FAIL: $1" >&2; [ -f "$out/log" ] && cat "$out/log" >&2; exit 1; }
# What Bazel says to this test is not for those that it runs.
unset TEST_TOTAL_SHARDS TEST_SHARD_INDEX TEST_SHARD_STATUS_FILE GTEST_TOTAL_SHARDS GTEST_SHARD_INDEX XML_OUTPUT_FILE TESTBRIDGE_TEST_ONLY

for shard in 0 1 2 3; do
  mkdir "$out/$shard"
  TEST_UNDECLARED_OUTPUTS_DIR="$out/$shard" GTEST_TOTAL_SHARDS=4 GTEST_SHARD_INDEX=$shard \
    "$test" --gtest_filter='ShardedTest.*' >"$out/log" 2>&1 || fail "shard $shard does not pass"
  grep -q '^\[  PASSED  \] 1 test' "$out/log" || fail "shard $shard has not run one test"
done

"$aggregate" "$out" >"$out/log" 2>&1 || fail "four shards are not accepted"
grep -q '^ShardedTest.EveryOrder: EXHAUSTIVE: .* classes in 4 shards' "$out/log" || fail "no verdict"

# In one process: the same number, by itself; and certificates where they are asked for.
mkdir "$out/one"
"$test" --gtest_filter='ShardedTest.*' --quiesce_certificates="$out/one" >"$out/one.log" 2>&1 || fail "one process does not pass"
cmp <(grep EXHAUSTIVE: "$out/log") <(grep EXHAUSTIVE: "$out/one.log") || fail "one process says something else"
"$aggregate" "$out/one" | cmp - "$out/log" || fail "the certificates of one process say something else"

# What is not all there is, is refused.
mkdir "$out/three"
cp "$out/one/"*_[0-2]_of_4.quiesce-shard "$out/three"
"$aggregate" "$out/three" >"$out/log" 2>&1
[ $? = 1 ] || fail "a missing shard is accepted"
grep -q 'shard 3 of 4 is missing' "$out/log" || fail "it is not said which is missing"
"$aggregate" "$out/one" "$out/three" >"$out/log" 2>&1
[ $? = 1 ] || fail "a shard that is there twice is accepted"
grep -q 'shard 0 is there twice' "$out/log" || fail "it is not said which is there twice"
sed 's/^classes: .*/classes: 1/' "$out/one/"*_3_of_4.quiesce-shard >"$out/three/changed.quiesce-shard"
"$aggregate" "$out/three" >"$out/log" 2>&1
[ $? = 2 ] || fail "a changed certificate is accepted"
grep -q 'it was changed' "$out/log" || fail "it is not said that it was changed"

# How it is used.
"$aggregate" --help | grep -q 'Exits with 0' || fail "no help"
for misuse in "" --what "$out/nowhere"; do
  # shellcheck disable=SC2086
  "$aggregate" $misuse >"$out/log" 2>&1
  [ $? = 2 ] || fail "'$misuse' is accepted"
done
mkdir -p "$out/zip/shard_1_of_4/test.outputs"
touch "$out/zip/shard_1_of_4/test.outputs/outputs.zip"
"$aggregate" "$out/zip" >"$out/log" 2>&1
[ $? = 2 ] && grep -q 'unzip it' "$out/log" || fail "what is zipped is not named"
