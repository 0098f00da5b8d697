// network.h: the network of a lab: TcpStream and TcpListener as they are, on links that a test can slow down and cut.
//
// Example:    LAB_TEST(StoreTest, SurvivesAPartition, Explore::Walk(1000)) {
//               lab::SetLink("10.0.0.1", "10.0.0.2", lab::Link().WithLatency(absl::Milliseconds(3)));
//               auto nodes = [](Cx cx) -> Task<void> {
//                 cx.Spawn("server", [](Cx cx) { return lab::OnNode(cx, "10.0.0.1", Serve); });
//                 cx.Spawn("client", [](Cx cx) { return lab::OnNode(cx, "10.0.0.2", Ask); });
//                 co_return Ok();
//               };
//               co_await OrReturn(Region::Open(cx, "nodes", nodes));
//               co_return Ok();
//             }
// How:        a node has one address; code that was put on none is on 127.0.0.1. Within a node bytes are there as soon
//             as they were sent, as on Linux's loopback. Between two they are under way first: each segment arrives at
//             some moment from its latency on, in the order of its connection, and no other. Who waits hears of it at
//             some later moment yet, as from epoll; but at once of what is there when its socket is first watched. All of
//             these moments are choices of the lab's.
//             A segment is what one Write has sent; a Read gets all that has arrived. Nothing is lost or sent twice.
// Not there:  loss and reordering (TCP hides both), congestion, the sizes of packets, TIME_WAIT, names, UDP. A send buffer
//             that was full has room again as soon as a segment has arrived. Within a node who connects waits for a
//             full backlog for ever.
// Threads:    from the body of a lab.
#ifndef QUIESCE_TESTING_LAB_NETWORK_H_
#define QUIESCE_TESTING_LAB_NETWORK_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/region/region.h"
#include "quiesce/runtime/task/task.h"

namespace quiesce::lab {

// Between two nodes, in each direction.
class Link {
 public:
  // Between sending and arriving, at least. From nothing to a year.
  Link& WithLatency(absl::Duration latency);
  // What a connection has room for at either end, in bytes; so that with 1 each byte waits for the reader. Positive.
  Link& WithBuffer(size_t bytes);

  absl::Duration latency() const { return latency_; }
  size_t buffer() const { return buffer_; }

 private:
  absl::Duration latency_ = absl::ZeroDuration();
  size_t buffer_ = size_t{1} << 16;
};

// For connections that are made from now on. One address twice: those within that node, which have no latency.
void SetLink(absl::string_view one, absl::string_view other, Link link);

// Nothing arrives from one of the two at the other any more. As with Linux, who connects is told when it has taken 127 s
// (kUnavailable), and who sends after 924 s of it; what was under way arrives after Heal.
void Partition(absl::string_view one, absl::string_view other);
void Heal(absl::string_view one, absl::string_view other);

// The tasks of `region`, and of all below it, are on that node. Before it has any.
void PlaceOn(absl::string_view address, uint64_t region);

// `body`, as that of a region on the node with that address, "10.0.0.1".
template <class Body>
Task<void> OnNode(Cx cx, std::string address, Body body) {
  auto placed = [&address, &body](Cx cx) -> Task<void> {
    PlaceOn(address, cx.region()->id);
    co_return co_await body(cx);
  };
  co_return co_await Region::Open(cx, "node", placed);
}

}  // namespace quiesce::lab

#endif  // QUIESCE_TESTING_LAB_NETWORK_H_
