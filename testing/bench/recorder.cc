// What the event recorder costs: three benchmarks once more, with it on, with it off, and in a program of which it is no part.
#include "quiesce/runtime/trace/recorder.h"

#include "quiesce/testing/bench/harness.h"

namespace quiesce_bench {
namespace {

void Report(const Arguments& arguments) {
  Arguments part = arguments;
  part.bench = arguments.bench + "_spawn_join";
  SpawnJoin(part);
  part.bench = arguments.bench + "_channel_roundtrip";
  ChannelRoundTrip(part);
  part.bench = arguments.bench + "_reserve_send";
  ReserveSend(part);
}

}  // namespace

void RecorderOff(const Arguments& arguments) { Report(arguments); }

// Full rings overwrite their oldest events, so however long it runs, recording costs the same.
void RecorderOn(const Arguments& arguments) {
  quiesce::StartRecording();
  Report(arguments);
  quiesce::StopRecording();
}

}  // namespace quiesce_bench
