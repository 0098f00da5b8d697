#!/bin/bash
# nocompile_test.sh: what the types forbid. Each piece of code below must be rejected, with a message that says what to do, by clang and by g++.
#
# Why:    a guarantee that is kept by a type is only kept while the type refuses; a test that compiles cannot see that.
set -u

. testing/header_budget/collect_headers.sh
cd "$work" || exit 2

failures=0
failed() { # TEXT: with the compiler's output
  echo "FAILED ($compiler): $1"
  grep -E 'error|warning' log | head -n 5
  failures=$((failures + 1))
}
flags=(-std=c++20 -Wall -Wextra -Werror -I.)
prepare() { # parses the headers once
  mkdir -p "$compiler"
  cat >"$compiler/prelude.h" <<'END'
#include "quiesce/runtime/channel/mpsc.h"
#include "quiesce/runtime/obligation/permit.h"
#include "quiesce/runtime/quiesce.h"
#include "quiesce/runtime/task/select.h"
using namespace quiesce;
inline Task<void> G(Cx) { co_return Ok(); }
struct SeatSlot {
  static constexpr PermitKind kKind = {"SeatPermit", "Book"};
  void Abort() {}
};
class [[nodiscard]] SeatPermit : public Permit<SeatSlot> {
 public:
  explicit SeatPermit(const CxBase& cx, std::source_location where = std::source_location::current()) : Permit(cx, SeatSlot(), where) {}
  bool Book() && { return std::move(*this).Act([](SeatSlot&) {}); }
};
SeatPermit TryReserve(const CxBase& cx);
Task<SeatPermit> Reserve(Cx cx);
END
  "$compiler" "${flags[@]}" -x c++-header "$compiler/prelude.h" -o "$compiler/prelude.h.gch"
}
compile() { # CODE
  echo "$1" | "$compiler" "${flags[@]}" -fsyntax-only -include "$compiler/prelude.h" -x c++ - 2>log
}
accepts() { # WHAT CODE
  compile "$2" || failed "$1 does not compile"
}
rejects() { # WHAT MESSAGE CODE
  if compile "$3"; then
    failed "$1 compiles"
  elif ! grep -qE "$2" log; then
    failed "$1: no message like '$2'"
  fi
}

for compiler in clang++-19 g++-12; do
  prepare || exit 2
  accepts "a plain program" 'Task<int> F(Cx cx) { co_await OrReturn(G(cx)); cx.Spawn("g", G); (void)cx.Ref(); co_return 1; }'
  rejects "a Task of a Status" 'already yields an Outcome' 'Task<absl::Status> F(Cx) { co_return absl::OkStatus(); }'
  rejects "a Task of a StatusOr" 'already yields an Outcome' 'Task<absl::StatusOr<int>> F(Cx) { co_return 1; }'
  rejects "a Task of an Outcome" 'already yields an Outcome' 'Task<Outcome<int>> F(Cx) { co_return 1; }'
  rejects "a dropped Task" 'nodiscard|unused' 'void F(Cx cx) { G(cx); }'
  rejects "a dropped wait" 'nodiscard|unused' 'void F(Cx cx) { Yield(cx); }'
  rejects "a copied Task" 'delete' 'void F(Task<void> t) { Task<void> copy = t; }'
  rejects "a Cx that widens (G10)" 'conver' 'void F(CxWith<cap::Net> cx) { Cx wide = cx; (void)wide; }'
  rejects "a Cx out of nothing (G10)" 'delete|private|protected|no matching' 'Cx F() { return Cx(); }'
  rejects "a RegionRef of a narrow Cx (G10)" 'Ref\(\) needs a whole Cx' 'void F(CxWith<cap::Net> cx) { (void)cx.Ref(); }'
  rejects "Spawn without cap::Spawn" 'Spawn needs a Cx with cap::Spawn' 'void F(CxWith<cap::Net> cx) { cx.Spawn("g", G); }'
  rejects "Region::Open without cap::Spawn" 'Region::Open needs a Cx with cap::Spawn' \
    'Task<void> N(CxWith<cap::Net>) { co_return Ok(); } Task<void> F(CxWith<cap::Net> cx) { co_return co_await Region::Open(cx, "r", N); }'
  rejects "Get of what was not provided" 'this Cx does not allow T' 'struct L {}; void F(Cx cx) { (void)cx.Get<L>(); }'
  rejects "a built-in that is provided" 'comes from the runtime only' 'void F(Cx cx, cap::Net& n) { (void)cx.Provide(n); }'
  rejects "a name that is no literal" 'SpawnName' 'void F(Cx cx, const char* n) { cx.Spawn(n, G); }'
  rejects "a foreign awaitable" 'co_await takes a quiesce::Task' 'Task<void> F(Cx) { co_await std::suspend_always(); co_return Ok(); }'
  rejects "an unnamed body with a string (R10)" 'must be a named lvalue' \
    'Task<void> F(Cx cx, std::string s) { co_return co_await Region::Open(cx, "r", [s](Cx) -> Task<void> { co_return Ok(); }); }'
  accepts "a permit that is consumed" 'Task<void> F(Cx cx) { SeatPermit p = co_await OrReturn(Reserve(cx)); (void)std::move(p).Book(); SeatPermit q(cx); std::move(q).Abort(); co_return Ok(); }'
  rejects "a permit that is copied (G7)" 'delete' 'void F(SeatPermit& p) { SeatPermit copy = p; std::move(copy).Abort(); }'
  rejects "a reservation whose permit is ignored (G7)" 'nodiscard|unused' 'void F(Cx cx) { TryReserve(cx); }'
  # g++ 12 does not look behind a co_await; there a permit that is ignored is found when it is dropped.
  [ "$compiler" = g++-12 ] || rejects "an awaited reservation whose permit is ignored (G7)" 'nodiscard|unused' 'Task<void> F(Cx cx) { co_await OrReturn(Reserve(cx)); co_return Ok(); }'
  rejects "an action on an lvalue (G7)" 'rvalue|lvalue|discards qualifiers' 'void F(SeatPermit& p) { (void)p.Book(); }'
  rejects "Abort on an lvalue (G7)" 'rvalue|lvalue|discards qualifiers' 'void F(SeatPermit& p) { p.Abort(); }'
  rejects "Complete on an lvalue (G7)" 'rvalue|lvalue|discards qualifiers' 'void F(SeatPermit& p) { p.Complete(); }'
  rejects "a slot without Abort" 'the slot is nothrow movable' 'struct Bad { static constexpr PermitKind kKind = {"Bad", "Do"}; }; void F(Permit<Bad>& p) { (void)p.live(); }'
  rejects "a Select over a structural wait" 'a structural wait cannot lose' \
    'Task<void> F(Cx cx, region_internal::CloseOp op) { Wait<region_internal::CloseOp> w(cx, cx.region()); (void)co_await Select(cx, w); co_return Ok(); }'
  rejects "a Select over a wait that may be half done" 'may have had part of its effect' \
    'Task<void> F(Cx cx, TcpStream& s, ByteView b) { (void)co_await Select(cx, s.WriteAll(cx, b)); co_return Ok(); }'

  accepts "combinators" 'Task<int> N(Cx) { co_return 1; } Task<int> F(Cx cx) { auto s = std::string("s"); auto b = [s](Cx) -> Task<int> { co_return 1; };
    (void)co_await OrReturn(JoinAll(cx, N, b)); (void)co_await Quorum(cx, 1, b); co_return (co_await OrReturn(Race(cx, b, [](Cx) -> Task<int> { co_return 2; }))).value; }'
  for combinator in JoinAll Race FirstOk; do
    rejects "$combinator of an unnamed branch with a string (R10)" 'must be a named lvalue' \
      "Task<void> F(Cx cx, std::string s) { (void)co_await $combinator(cx, [s](Cx) -> Task<void> { co_return Ok(); }); co_return Ok(); }"
    rejects "$combinator without cap::Spawn" 'a combinator needs a Cx with cap::Spawn' \
      "Task<void> N(CxWith<cap::Net>) { co_return Ok(); } Task<void> F(CxWith<cap::Net> cx) { (void)co_await $combinator(cx, N); co_return Ok(); }"
  done
  rejects "Race of nothing" 'Race\(cx\) of nothing' 'Task<void> F(Cx cx) { (void)co_await Race(cx); co_return Ok(); }'
  rejects "FirstOk of nothing" 'FirstOk\(cx\) of nothing' 'Task<void> F(Cx cx) { (void)co_await FirstOk(cx); co_return Ok(); }'
  rejects "Quorum of different types" 'must give the same T' 'Task<int> N(Cx) { co_return 1; } Task<void> F(Cx cx) { (void)co_await Quorum(cx, 1, G, N); co_return Ok(); }'
  rejects "Hedge without cap::Time" 'Hedge needs a Cx with cap::Time' \
    'Task<void> N(CxWith<cap::Spawn>) { co_return Ok(); } Task<void> F(CxWith<cap::Spawn> cx) { co_return co_await Hedge(cx, absl::Seconds(1), N); }'
  rejects "Bracket whose release gives a value" 'return a Task<void>|Task<void>' \
    'Task<int> A(Cx) { co_return 1; } Task<int> U(Cx, int&) { co_return 1; } Task<void> F(Cx cx) { (void)co_await Bracket(cx, A, U, U); co_return Ok(); }'
  rejects "a JoinSet of another type" 'no viable conversion|conversion from|could not convert' \
    'Task<int> N(Cx) { co_return 1; } void F(Cx cx) { JoinSet<void> set; set.Spawn(cx, "n", N); }'
  rejects "a permit that is used and kept (G7)" 'rvalue|lvalue|discards|not viable' 'void F(SendPermit<int>& p) { (void)p.Send(1); }'
  rejects "a copied permit (G7)" 'delete' 'void F(SendPermit<int>& p) { SendPermit<int> copy = p; }'
  rejects "a dropped reservation" 'nodiscard|unused' 'void F(Cx cx, Sender<int>& s) { s.Reserve(cx); }'
  [ "$compiler" = g++-12 ] || rejects "a dropped permit of a channel (G7)" 'nodiscard|unused' 'Task<void> F(Cx cx, Sender<int>& s) { co_await OrReturn(s.Reserve(cx)); co_return Ok(); }'
  # Every kind, with its actions.
  for permit in 'Ack<int> Commit() Nack() Complete()' 'Lease Release() Complete()' 'SemaphorePermit Release() Complete()' 'ReplyPermit<int> Reply(1) Complete()' \
    'IoPermit<std::string> Fail(absl::OkStatus()) Complete(1)' 'PoolPermit<int> Return() Discard() Complete()'; do
    read -r kind actions <<<"$permit"
    rejects "a copied $kind (G7)" 'delete' "void F($kind& p) { $kind copy = p; }"
    for action in $actions 'Abort()'; do
      rejects "$action on an lvalue $kind (G7)" 'rvalue|lvalue|discards|not viable' "void F($kind& p) { (void)p.$action; }"
    done
  done
  rejects "a second receiver" 'delete' 'void F(Receiver<int>& r) { Receiver<int> copy = r; }'
  rejects "a message whose move may throw (G8)" 'nothrow move constructible' 'struct M { M() {} M(M&&) {} }; void F() { (void)MakeMpsc<M>(1); }'
done
[ $failures = 0 ] && echo "all is rejected as it should be"
