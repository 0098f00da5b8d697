#include "quiesce/testing/lab/numbers.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace quiesce::lab {

std::string WithSeparators(uint64_t number) {
  std::string text = absl::StrCat(number);
  for (size_t at = text.size(); at > 3;) text.insert(at -= 3, ",");
  return text;
}

std::string Roughly(double number) {
  if (!(number < 1e15)) return absl::StrFormat("%.0e", number);
  const double unit = std::pow(10.0, std::max(0.0, std::floor(std::log10(number)) - 1));
  return WithSeparators(static_cast<uint64_t>(std::round(number / unit) * unit));
}

}  // namespace quiesce::lab
