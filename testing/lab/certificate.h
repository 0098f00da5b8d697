// certificate.h: what one shard of an exploration has explored; and whether all of them together are all there is.
//
// Why:        a verdict of four processes on four machines is worth what one of one process is only if it is sure that they ran
//             the same program in the same way, that none is missing, and that each came to its end.
// Threads:    values.
#ifndef QUIESCE_TESTING_LAB_CERTIFICATE_H_
#define QUIESCE_TESTING_LAB_CERTIFICATE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace quiesce::lab {

struct Certificate {
  // A class that is in no part (split.h): more than one shard may have it.
  struct Stray {
    uint64_t hash = 0;
    bool deadlock = false;
    bool operator==(const Stray&) const = default;
  };

  std::string test;      // "Suite.Name", without the shard
  std::string version;   // of Quiesce
  uint64_t program = 0;  // a hash of its first execution
  std::string options;   // Explore::Options
  std::string not_covered;
  uint64_t split = 0;  // a hash of all parts
  uint64_t parts_in_all = 0;
  uint32_t shard = 0;  // from 0
  uint32_t shards = 1;
  uint64_t parts = 0;  // that are this shard's
  bool exhausted = false;
  std::string verdict;      // one line
  uint64_t classes = 0;     // of this shard's parts, that came to their end
  uint64_t deadlocks = 0;   // … that did not
  uint64_t executions = 0;  // those that are counted elsewhere, too, among them
  uint64_t digest = 0;      // of the classes and deadlocks
  std::vector<Stray> strays;

  bool operator==(const Certificate&) const = default;
  // Lines of "name: value", the last of which is a checksum.
  std::string ToString() const;
  // Errors   kInvalidArgument, and what it has found.
  static absl::StatusOr<Certificate> Parse(absl::string_view text);
};

// How the name of a file with one ends.
inline constexpr const char kCertificateEnding[] = ".quiesce-shard";

struct Aggregate {
  bool ok() const { return problems.empty(); }

  std::string verdict;  // "EXHAUSTIVE: 120 classes in 4 shards …"; or what it is instead
  std::vector<std::string> problems;
  uint64_t classes = 0;  // with the deadlocks, each once
};
// Of certificates that all claim to be of one test; at least one.
Aggregate AddUp(absl::Span<const Certificate> certificates);

}  // namespace quiesce::lab

#endif  // QUIESCE_TESTING_LAB_CERTIFICATE_H_
