#include "quiesce/testing/explore/estimate.h"

namespace quiesce::explore {

double EstimateByRecapture(uint64_t marked, uint64_t caught, uint64_t recaught) {
  const auto plus_one = [](uint64_t count) { return static_cast<double>(count) + 1; };
  return plus_one(marked) * plus_one(caught) / plus_one(recaught) - 1;
}

}  // namespace quiesce::explore
