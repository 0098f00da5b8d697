// var.h: plain memory that tasks share, visible in the lab.
//
// Why:        a lab sees what goes through primitives. A field that two tasks write behind its back is what it misses, and
//             often the bug.
// Example:    lab::Var<int> balance(100);
//             const int before = balance.Get();
//             balance.Set(before + 10);          // another task may have come in between: both orders are tried
// Contract:   each Get and Set is a step of its own. Two uses, one of them a Set, that nothing else orders are a data race,
//             and fail the execution. Outside of a lab it is a plain variable.
#ifndef QUIESCE_TESTING_LAB_VAR_H_
#define QUIESCE_TESTING_LAB_VAR_H_

#include <utility>

#include "quiesce/runtime/trace/event.h"
#include "quiesce/runtime/trace/shared_object.h"

namespace quiesce::lab {

template <class T>
class Var {
 public:
  // `name`: for reports; a literal.
  explicit Var(T value = T(), const char* name = "Var") : value_(std::move(value)) {
    ObjectMade(this, name);
  }
  Var(const Var&) = delete;
  Var& operator=(const Var&) = delete;

  T Get(const char* function = __builtin_FUNCTION()) const {
    BeforeUse(this, ObjectUse::kPlainLook, function);
    return value_;
  }
  void Set(T value, const char* function = __builtin_FUNCTION()) {
    BeforeUse(this, ObjectUse::kPlainChange, function);
    value_ = std::move(value);
  }

 private:
  T value_;
};

}  // namespace quiesce::lab

#endif  // QUIESCE_TESTING_LAB_VAR_H_
