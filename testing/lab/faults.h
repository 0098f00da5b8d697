// faults.h: what may go wrong in a lab, each at any moment, as a choice like any other. For Explore::WithFaults.
#ifndef QUIESCE_TESTING_LAB_FAULTS_H_
#define QUIESCE_TESTING_LAB_FAULTS_H_

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace quiesce {

// How often each may happen in one execution. It need not. Fatal if negative.
class Faults {
 public:
  // A connection ends with a reset for both of its ends.
  Faults& WithResets(int times);
  // A Read gets one byte, although there are more.
  Faults& WithShortReads(int times);
  // A Write takes one byte, although there is room for more.
  Faults& WithShortWrites(int times);
  // A Connect is refused.
  Faults& WithRefusals(int times);
  // The process has no descriptor left: a Connect or Bind fails, an Accept waits.
  Faults& WithoutDescriptors(int times);
  // What is under way on a link takes longer by that, so that timers may be first.
  Faults& WithDelays(int times, absl::Duration by);

  int resets() const { return resets_; }
  int short_reads() const { return short_reads_; }
  int short_writes() const { return short_writes_; }
  int refusals() const { return refusals_; }
  int no_descriptors() const { return no_descriptors_; }
  int delays() const { return delays_; }
  absl::Duration delay() const { return delay_; }
  // "resets=1 …", all of them.
  std::string ToString() const {
    return absl::StrCat("resets=", resets_, " short_reads=", short_reads_,
                        " short_writes=", short_writes_, " refusals=", refusals_,
                        " no_descriptors=", no_descriptors_, " delays=", delays_, " by ",
                        absl::FormatDuration(delay_));
  }

 private:
  int resets_ = 0;
  int short_reads_ = 0;
  int short_writes_ = 0;
  int refusals_ = 0;
  int no_descriptors_ = 0;
  int delays_ = 0;
  absl::Duration delay_ = absl::ZeroDuration();
};

}  // namespace quiesce

#endif  // QUIESCE_TESTING_LAB_FAULTS_H_
