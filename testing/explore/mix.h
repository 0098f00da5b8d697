// mix.h: two numbers as one, for hashes that mean the same on every machine.
//
// Source:     the finalizer of Sebastiano Vigna's SplitMix64.
#ifndef QUIESCE_TESTING_EXPLORE_MIX_H_
#define QUIESCE_TESTING_EXPLORE_MIX_H_

#include <cstdint>

namespace quiesce::explore {

constexpr uint64_t Mix(uint64_t a, uint64_t b) {
  uint64_t x = a * 0x9e3779b97f4a7c15 + b;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

}  // namespace quiesce::explore

#endif  // QUIESCE_TESTING_EXPLORE_MIX_H_
