// What a user's codebase looks like from outside: its own headers under names that Quiesce uses too, its own Abseil.
#include <cstdio>

#include "lint/lint.h"
#include "quiesce/runtime/base/version.h"
#include "runtime/base/check.h"
#include "testing/testing.h"

#ifndef CONSUMER_OWN_ABSEIL
#error "Quiesce brought its own Abseil, although this workspace defines one."
#endif

int main() {
  std::printf("hello: Quiesce %s\n", quiesce::kVersion);
  std::printf("hello: beside it %s, %s and %s\n", consumer::Check(), consumer::Lint(), consumer::Testing());
}
