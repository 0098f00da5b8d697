#include "quiesce/testing/lab/network.h"

#include "quiesce/runtime/base/check.h"
#include "quiesce/testing/lab/faults.h"
#include "quiesce/testing/lab/lab_network.h"
#include "quiesce/testing/lab/lab_runtime.h"

namespace quiesce {
namespace {

constexpr absl::Duration kLongest = absl::Hours(24 * 365);

void CheckTime(const char* what, absl::Duration time) {
  if (time < absl::ZeroDuration() || time > kLongest) {
    Fatal("%s(%s): it has to be from nothing to a year", what, absl::FormatDuration(time).c_str());
  }
}

void CheckTimes(const char* what, int times) {
  if (times < 0) Fatal("Faults::%s(%d): it cannot happen so often", what, times);
}

}  // namespace

Faults& Faults::WithResets(int times) {
  CheckTimes("WithResets", times);
  resets_ = times;
  return *this;
}
Faults& Faults::WithShortReads(int times) {
  CheckTimes("WithShortReads", times);
  short_reads_ = times;
  return *this;
}
Faults& Faults::WithShortWrites(int times) {
  CheckTimes("WithShortWrites", times);
  short_writes_ = times;
  return *this;
}
Faults& Faults::WithRefusals(int times) {
  CheckTimes("WithRefusals", times);
  refusals_ = times;
  return *this;
}
Faults& Faults::WithoutDescriptors(int times) {
  CheckTimes("WithoutDescriptors", times);
  no_descriptors_ = times;
  return *this;
}
Faults& Faults::WithDelays(int times, absl::Duration by) {
  CheckTimes("WithDelays", times);
  CheckTime("Faults::WithDelays", by);
  delays_ = times;
  delay_ = by;
  return *this;
}

namespace lab {
namespace {

LabNetwork& CurrentNetwork() {
  LabRuntime* const runtime = LabRuntime::Current();
  QUIESCE_CHECK(runtime != nullptr, "lab: there is a network only in the body of a lab");
  return runtime->network();
}

}  // namespace

Link& Link::WithLatency(absl::Duration latency) {
  CheckTime("lab::Link::WithLatency", latency);
  latency_ = latency;
  return *this;
}

Link& Link::WithBuffer(size_t bytes) {
  if (bytes == 0) Fatal("lab::Link::WithBuffer(0): nothing would ever be sent");
  buffer_ = bytes;
  return *this;
}

void SetLink(absl::string_view one, absl::string_view other, Link link) {
  CurrentNetwork().SetLink(one, other, link);
}
void Partition(absl::string_view one, absl::string_view other) {
  CurrentNetwork().SetPartition(one, other, true);
}
void Heal(absl::string_view one, absl::string_view other) {
  CurrentNetwork().SetPartition(one, other, false);
}
void PlaceOn(absl::string_view address, uint64_t region) {
  CurrentNetwork().PlaceOn(address, region);
}

}  // namespace lab
}  // namespace quiesce
