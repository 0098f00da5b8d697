// What of a LabNetwork moves by itself: bytes under way, pollers, faults.
#include <errno.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "quiesce/testing/lab/lab_network.h"

namespace quiesce::lab {
namespace {

using explore::Effect;

constexpr int64_t kNever = std::numeric_limits<int64_t>::max();
// What Linux does by default: net.ipv4.tcp_retries2 = 15.
constexpr int64_t kSendGivesUp = int64_t{924} * 1'000'000'000;
constexpr uint32_t kBoth = kReadable | kWritable;

}  // namespace

// ---- what is under way ------------------------------------------------------------------------------

void LabNetwork::Append(const std::shared_ptr<Pipe>& pipe, Segment::Kind kind, std::string bytes) {
  const int64_t now = host_->NowNanos();
  int64_t arrives = now;
  if (pipe->wire != nullptr) arrives += pipe->latency;
  if (!pipe->flight.empty()) arrives = std::max(arrives, pipe->flight.back().arrives);
  pipe->in_flight += bytes.size();
  pipe->ever_sent += bytes.size();
  pipe->flight.push_back({kind, std::move(bytes), now, arrives, host_->now_running()});
  if (pipe->wire == nullptr) Arrive(pipe);
}

bool LabNetwork::IsHandshake(const Pipe& pipe, const Segment& segment) {
  return segment.kind == Segment::kConnect || segment.kind == Segment::kAccepted ||
         pipe.from == nullptr;
}

int64_t LabNetwork::GivenUpAt(const Pipe& pipe) const {
  const Segment& head = pipe.flight.front();
  if (IsHandshake(pipe, head)) return pipe.connect_gives_up;
  return std::max(head.arrives, pipe.wire->cut_at) + kSendGivesUp;
}

bool LabNetwork::IsGivenUp(const Pipe& pipe) const {
  return IsHeld(pipe) && GivenUpAt(pipe) <= host_->NowNanos();
}

bool LabNetwork::IsHeld(const Pipe& pipe) const {
  if (pipe.wire->cut) return true;
  // By a listener that has no room: nobody has heard of it.
  const Segment& head = pipe.flight.front();
  return head.kind == Segment::kConnect && head.arrives <= host_->NowNanos() && !HasArrived(pipe);
}

bool LabNetwork::HasArrived(const Pipe& pipe) const {
  if (pipe.wire->cut || pipe.flight.front().arrives > host_->NowNanos()) return false;
  const Segment& head = pipe.flight.front();
  switch (head.kind) {
    case Segment::kConnect: {
      const Endpoint* const listener = ListenerFor(pipe);
      return listener == nullptr || listener->queue.size() < listener->backlog;
    }
    case Segment::kData:
      return (pipe.to != nullptr && pipe.to->closed) || pipe.arrived.empty() ||
             pipe.arrived.size() + head.bytes.size() <= pipe.room;
    default:
      return true;
  }
}

int64_t LabNetwork::NextInstant() const {
  int64_t next = kNever;
  const int64_t now = host_->NowNanos();
  for (const auto& pipe : pipes_) {
    if (pipe->flight.empty()) continue;
    const int64_t at = IsHeld(*pipe) ? GivenUpAt(*pipe) : pipe->flight.front().arrives;
    if (at > now) next = std::min(next, at);
  }
  return next;
}

void LabNetwork::StartWire(std::shared_ptr<Pipe> pipe) {
  pipes_.push_back(pipe);
  host_->Start("wire", /*fault=*/false, [this, pipe] {
    while (true) {
      host_->Do([&](explore::Pending& pending) { DeclareArrival(*pipe, pending); },
                [&] { return DescribeArrival(*pipe); });
      if (over_) return;
      const Segment& head = pipe->flight.front();
      host_->After(head.sent_by);
      const int64_t at = IsGivenUp(*pipe) ? GivenUpAt(*pipe) : head.arrives;
      if (at > head.sent) host_->AfterTick(at);
      Arrive(pipe);
    }
  });
}

LabNetwork::Endpoint* LabNetwork::ListenerFor(const Pipe& pipe) const {
  const Node* const node = FindNode(HostOf(pipe.from->peer));
  return node == nullptr ? nullptr : ListenerAt(*node, pipe.from->peer);
}

void LabNetwork::DeclareArrival(const Pipe& pipe, explore::Pending& pending) const {
  if (pipe.flight.empty()) {
    pending.enabled = over_;
    return;
  }
  pending.enabled = over_ || HasArrived(pipe) || IsGivenUp(pipe);
  if (over_) return;
  pending.op.Touch(pipe.wire->state, Effect::kRead);
  pending.op.Touch(pipe.out, pipe.wants_room ? Effect::kWhole : Effect::kReceive);
  const Segment& head = pipe.flight.front();
  const bool given_up = IsGivenUp(pipe);
  if (given_up) {
    const Endpoint* const end = IsHandshake(pipe, head) ? pipe.client : pipe.from;
    pending.op.Touch(end->readiness, Effect::kWrite);
    pending.op.Touch(end->condition, Effect::kWrite);
  }
  if (pipe.from != nullptr && (pipe.wants_room || head.kind == Segment::kEnd)) {
    pending.op.Touch(pipe.from->readiness, Effect::kWrite);
    pending.op.Touch(pipe.from->condition, Effect::kRead);
  }
  // It may have been held back, and so be what comes before something.
  const Endpoint* const listener = head.kind == Segment::kConnect ? ListenerFor(pipe) : nullptr;
  pending.op.may_block = pipe.wire->was_cut || (listener != nullptr && listener->was_full) ||
                         (head.kind == Segment::kData && pipe.ever_sent > pipe.room);
  if (head.kind == Segment::kConnect) {
    pending.op.Touch(known_nodes_, Effect::kRead);
    if (const Node* const node = FindNode(HostOf(pipe.from->peer))) {
      pending.op.Touch(node->ports, Effect::kRead);
    }
    if (listener != nullptr) {
      pending.op.Touch(listener->condition, Effect::kWrite);
      pending.op.Touch(listener->readiness, Effect::kWrite);
    }
    pending.op.Touch(pipe.from->in->out, Effect::kSend);
    return;
  }
  pending.op.Touch(pipe.in, Effect::kWhole);
  if (pipe.to == nullptr) return;
  pending.op.Touch(pipe.to->condition, head.kind == Segment::kData || head.kind == Segment::kEnd
                                           ? Effect::kRead
                                           : Effect::kWrite);
  pending.op.Touch(pipe.to->readiness, Effect::kWrite);
  if (pipe.to->closed && pipe.to->out != nullptr) {
    pending.op.Touch(pipe.to->out->out, Effect::kWhole);
  }
}

std::string LabNetwork::DescribeArrival(const Pipe& pipe) const {
  if (pipe.flight.empty()) return "the runtime has ended";
  const Endpoint* const end = pipe.from != nullptr ? pipe.from : pipe.to;
  const std::string at = absl::StrCat(pipe.from != nullptr ? "from " : "at ", Name(*end));
  if (IsGivenUp(pipe)) return absl::StrCat("is given up ", at);
  switch (pipe.flight.front().kind) {
    case Segment::kConnect:
      return absl::StrCat("asks for a connection: ", at);
    case Segment::kAccepted:
      return absl::StrCat("has found a listener: ", at);
    case Segment::kData:
      return absl::StrCat(pipe.flight.front().bytes.size(), " bytes arrive ", at);
    case Segment::kEnd:
      return absl::StrCat("the end arrives ", at);
    case Segment::kReset:
      return absl::StrCat("a reset arrives ", at);
  }
  return "";
}

// The first of what is under way.
void LabNetwork::Arrive(const std::shared_ptr<Pipe>& pipe) {
  if (pipe->wire != nullptr && IsGivenUp(*pipe)) {
    const bool handshake = IsHandshake(*pipe, pipe->flight.front());
    pipe->flight.clear();
    pipe->in_flight = 0;
    if (!handshake) return Break(pipe->from, ETIMEDOUT);
    if (pipe->client->state == Endpoint::State::kConnecting) Break(pipe->client, ETIMEDOUT);
    return;
  }
  const Segment segment = std::move(pipe->flight.front());
  pipe->flight.pop_front();
  pipe->in_flight -= segment.bytes.size();
  Endpoint* const to = pipe->to;
  if (pipe->wire != nullptr && pipe->from != nullptr && std::exchange(pipe->wants_room, false)) {
    Notify(pipe->from, kWritable);
  }
  switch (segment.kind) {
    case Segment::kConnect: {
      Endpoint* const listener = ListenerFor(*pipe);
      if (listener == nullptr) return Append(pipe->from->in, Segment::kReset, "");
      LetIn(listener, pipe->from);
      return Append(pipe->from->in, Segment::kAccepted, "");
    }
    case Segment::kAccepted:
      if (to->state != Endpoint::State::kConnecting) return;
      to->state = Endpoint::State::kConnected;
      return Notify(to, kWritable);
    case Segment::kData:
      if (to != nullptr && to->closed) {
        // Whoever has closed answers with a reset (RFC 9293, section 3.10.7.1).
        if (to->out->wire != nullptr) return Append(to->out, Segment::kReset, "");
        return Break(pipe->from, pipe->from->in->end_arrived ? EPIPE : ECONNRESET);
      }
      pipe->arrived += segment.bytes;
      if (to != nullptr) Notify(to, kReadable);
      return;
    case Segment::kEnd:
      pipe->end_arrived = true;
      if (to != nullptr) Notify(to, kReadable | kMoreAfterShortRead);
      // That it was acknowledged is told as "writable".
      if (pipe->from != nullptr && !pipe->from->closed) Notify(pipe->from, kWritable);
      return;
    case Segment::kReset:
      if (to == nullptr || to->state == Endpoint::State::kEnded) return;
      return Break(to, to->state == Endpoint::State::kConnecting ? ECONNREFUSED
                       : pipe->end_arrived                       ? EPIPE
                                                                 : ECONNRESET);
  }
}

void LabNetwork::Break(Endpoint* endpoint, int error) {
  if (endpoint->closed || endpoint->state == Endpoint::State::kEnded) return;
  endpoint->state = Endpoint::State::kEnded;
  endpoint->error = error;
  Notify(endpoint, kBoth | kMoreAfterShortRead);
}

// ---- readiness --------------------------------------------------------------------------------------

absl::Status LabNetwork::Add(IoSource* source) {
  const auto found = endpoints_.find(source->fd);
  if (found == endpoints_.end()) {
    return absl::UnimplementedError(
        absl::StrCat("lab: descriptor ", source->fd,
                     " is of the real world, which a lab cannot repeat. Use TcpStream and "
                     "TcpListener, which are on the lab's network here"));
  }
  Endpoint* const endpoint = found->second.get();
  host_->Do(
      [&](explore::Pending& pending) {
        DeclareCall(*endpoint, pending);
        if (endpoint->in != nullptr) pending.op.Touch(endpoint->in->in, Effect::kRead);
        pending.op.Touch(endpoint->readiness, Effect::kWrite);
      },
      [&] { return absl::StrCat("watches ", Name(*endpoint)); });
  endpoint->source = source;
  const uint64_t registration = ++endpoint->registration;
  endpoint->ready = 0;
  // What it is ready for by now it is told by now.
  if (const uint32_t ready = ReadyNow(*endpoint)) source->notify(source, ready);
  host_->Start("poller", /*fault=*/false,
               [this, endpoint, registration] { RunPoller(endpoint, registration); });
  return absl::OkStatus();
}

bool LabNetwork::Remove(IoSource* source) {
  Endpoint& endpoint = Of(source->fd);
  const explore::ObjectId object = host_->ObjectAt(source);
  host_->Do(
      [&](explore::Pending& pending) {
        pending.op.Touch(endpoint.readiness, Effect::kWrite);
        pending.op.Touch(object, Effect::kWrite);
      },
      [&] { return absl::StrCat("watches no more ", Name(endpoint)); });
  endpoint.source = nullptr;
  ++endpoint.registration;
  endpoint.removed_by = host_->now_running();
  return true;
}

uint32_t LabNetwork::ReadyNow(const Endpoint& endpoint) const {
  switch (endpoint.state) {
    case Endpoint::State::kNew:
    case Endpoint::State::kConnecting:
      return 0;
    case Endpoint::State::kListening:
      return endpoint.queue.empty() ? 0 : uint32_t{kReadable};
    case Endpoint::State::kEnded:
      return kBoth | kMoreAfterShortRead;
    case Endpoint::State::kConnected:
      break;
  }
  uint32_t ready = kWritable;
  if (!endpoint.in->arrived.empty()) ready |= kReadable;
  if (endpoint.in->end_arrived) ready |= kReadable | kMoreAfterShortRead;
  return ready;
}

void LabNetwork::Notify(Endpoint* endpoint, uint32_t events) {
  if (endpoint->source == nullptr || events == 0) return;
  if (endpoint->ready == 0) endpoint->made_ready_by = host_->now_running();
  endpoint->ready |= events;
}

void LabNetwork::RunPoller(Endpoint* endpoint, uint64_t registration) {
  const explore::ObjectId object = host_->ObjectAt(endpoint->source);
  while (true) {
    host_->Do(
        [&](explore::Pending& pending) {
          const bool goes = endpoint->registration != registration;
          pending.enabled = over_ || goes || endpoint->ready != 0;
          if (over_ || goes || endpoint->ready == 0) return;
          pending.op.Touch(endpoint->readiness, Effect::kWrite);
          pending.op.Touch(object, Effect::kWrite);
        },
        [&] {
          if (endpoint->registration != registration) return std::string("tells nobody any more");
          return absl::StrCat("tells ", Name(*endpoint), " that it is",
                              (endpoint->ready & kReadable) != 0 ? " readable" : "",
                              (endpoint->ready & kWritable) != 0 ? " writable" : "");
        });
    if (over_) return;
    if (endpoint->registration != registration) return host_->After(endpoint->removed_by);
    host_->After(endpoint->made_ready_by);
    const uint32_t events = std::exchange(endpoint->ready, 0);
    endpoint->source->notify(endpoint->source, events);
  }
}

// ---- faults -----------------------------------------------------------------------------------------

const char* LabNetwork::NameOf(Fault fault) {
  switch (fault) {
    case Fault::kReset:
      return "reset";
    case Fault::kShortRead:
      return "short read";
    case Fault::kShortWrite:
      return "short write";
    case Fault::kRefusal:
      return "refusal";
    case Fault::kNoDescriptor:
      return "no descriptor";
    case Fault::kDelay:
      return "delay";
  }
  return "";
}

void LabNetwork::StartFault(Fault fault, int times, Endpoint* victim) {
  for (int i = 0; i < times; ++i) {
    host_->Start(NameOf(fault), /*fault=*/true, [this, fault, times, victim] {
      const auto idle = [&] {
        return over_ || struck_[static_cast<size_t>(fault)] >= times ||
               (victim != nullptr && (victim->closed || victim->state == Endpoint::State::kEnded));
      };
      host_->Do(
          [&](explore::Pending& pending) {
            if (over_) return;
            pending.op.Touch(strikes_, idle() ? Effect::kRead : Effect::kWrite);
            if (victim == nullptr) return pending.op.Touch(process_faults_, Effect::kWrite);
            pending.op.Touch(victim->condition,
                             fault == Fault::kReset && !idle() ? Effect::kWrite : Effect::kRead);
            if (idle()) return;
            pending.op.Touch(victim->faults, Effect::kWrite);
            if (fault == Fault::kDelay) pending.op.Touch(victim->out->out, Effect::kWhole);
            if (fault != Fault::kReset) return;
            pending.op.Touch(victim->readiness, Effect::kWrite);
            for (const auto& pipe : {victim->out, victim->in}) {
              pending.op.Touch(pipe->out, Effect::kWhole);
            }
            if (const Endpoint* const other = victim->out->to) {
              pending.op.Touch(other->condition, Effect::kWrite);
              pending.op.Touch(other->readiness, Effect::kWrite);
            }
          },
          [&] {
            return victim == nullptr ? std::string(NameOf(fault))
                                     : absl::StrCat(NameOf(fault), " of ", Name(*victim));
          });
      if (idle()) return;
      ++struck_[static_cast<size_t>(fault)];
      Strike(fault, victim);
    });
  }
}

void LabNetwork::Strike(Fault fault, Endpoint* victim) {
  switch (fault) {
    case Fault::kReset: {
      Endpoint* const other = victim->out->to;
      for (const auto& pipe : {victim->out, victim->in}) {
        pipe->flight.clear();
        pipe->in_flight = 0;
      }
      Break(victim, ECONNRESET);
      if (other != nullptr) Break(other, ECONNRESET);
      return;
    }
    case Fault::kShortRead:
      victim->read_short = true;
      return;
    case Fault::kShortWrite:
      victim->write_short = true;
      return;
    case Fault::kRefusal:
      refuses_ = true;
      return;
    case Fault::kNoDescriptor:
      no_descriptor_ = true;
      return;
    case Fault::kDelay:
      for (Segment& segment : victim->out->flight) {
        segment.arrives += absl::ToInt64Nanoseconds(faults_.delay());
      }
      return;
  }
}

}  // namespace quiesce::lab
