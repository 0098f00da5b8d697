// failures.h: what is left to say when none, or too few, of several branches ended Ok. Internal to combinators.
#ifndef QUIESCE_RUNTIME_COMBINATOR_FAILURES_H_
#define QUIESCE_RUNTIME_COMBINATOR_FAILURES_H_

#include <cstddef>
#include <utility>
#include <vector>

#include "quiesce/runtime/outcome/outcome.h"

namespace quiesce {
inline namespace v0 {
namespace combinator_internal {

class Failures {
 public:
  // Precondition: `outcome` is not Ok.
  template <class T>
  void Add(size_t index, Outcome<T> outcome) {
    Add(index, Outcome<void>::FromFailure(std::move(outcome)));
  }
  void Add(size_t index, Outcome<void> failure);

  // Joined by the lattice in the order of the branches, so that the answer does not depend on which failed
  // first: the most severe, the leftmost of these. An Error that is not the only one keeps its code and
  // payloads, and says how the others ended. Precondition: there is one.
  Outcome<void> Joined(const char* combinator) &&;

 private:
  struct Failure {
    Failure(size_t index, Outcome<void> outcome) : index(index), outcome(std::move(outcome)) {}
    size_t index;
    Outcome<void> outcome;
  };
  std::vector<Failure> failures_;
};

}  // namespace combinator_internal
}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_COMBINATOR_FAILURES_H_
