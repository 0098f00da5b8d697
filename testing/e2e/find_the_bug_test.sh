#!/bin/bash
# What README says of examples/find_the_bug.cc; and its page, in a browser if there is one.
#
# Usage: find_the_bug_test.sh FIND_THE_BUG
set -u
program=$1
out=${TEST_TMPDIR:?}
failures=0
fail() {
  echo "FAILED: $*"
  failures=$((failures + 1))
}

"$program" --page="$out/page.html" >"$out/found" 2>&1 && fail "the mistake was not found: exit code 0"
grep -q 'more sold than there are' "$out/found" || fail "it does not say what is wrong"
grep -q '^1 decision in an execution of' "$out/found" || fail "the schedule is not minimal"
replay=$(sed -n 's/^Once more: --quiesce_replay=//p' "$out/found")
[ -n "$replay" ] || fail "it says no way back"

"$program" --quiesce_replay="$replay" >"$out/again" 2>&1 && fail "the replay does not fail"
grep -q 'more sold than there are' "$out/again" || fail "the replay fails in another way"
"$program" --fixed >"$out/fixed" 2>&1 || fail "the mended office fails"
grep -q '^EXHAUSTIVE: ' "$out/fixed" || fail "the mended office is not exhausted"
"$program" --fixed --quiesce_replay="$replay" >"$out/stale" 2>&1 && fail "a replay of another program is not refused"
grep -q 'another program' "$out/stale" || fail "the refusal gives no reason"

if browser=$(command -v chromium); then
  "$browser" --headless --no-sandbox --disable-gpu --user-data-dir="$out/profile" --dump-dom "file://$out/page.html" >"$out/dom" 2>"$out/browser"
  [ "$(grep -o '<rect' "$out/dom" | wc -l)" -gt 20 ] || fail "the page draws nothing"
  grep -q 'Grace' "$out/dom" || fail "the page does not name the tasks"
  # A step that is a decision has a frame, which names it.
  grep -q 'a decision: another task would have gone' "$out/dom" || fail "the page does not mark the decision"
else
  echo "no chromium here: the page was not looked at"
fi
if [ $failures != 0 ]; then cat "$out/found"; fi
exit $failures
