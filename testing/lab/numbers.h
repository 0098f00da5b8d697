// numbers.h: numbers, for people.
#ifndef QUIESCE_TESTING_LAB_NUMBERS_H_
#define QUIESCE_TESTING_LAB_NUMBERS_H_

#include <cstdint>
#include <string>

namespace quiesce::lab {

// "1,234,567".
std::string WithSeparators(uint64_t number);
// Two digits of it: "1,200,000"; "1e+20" if it is longer than anybody would count.
std::string Roughly(double number);

}  // namespace quiesce::lab

#endif  // QUIESCE_TESTING_LAB_NUMBERS_H_
