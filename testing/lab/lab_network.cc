#include "quiesce/testing/lab/lab_network.h"

#include <errno.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "quiesce/runtime/base/check.h"
#include "quiesce/testing/lab/lab_runtime.h"

namespace quiesce::lab {
namespace {

using explore::Effect;

// No descriptor of the process's is as great.
constexpr int kFirstDescriptor = 1'000'000'000;
constexpr uint16_t kFirstPort = 32768;
constexpr const char* kLocal = "127.0.0.1";
constexpr int64_t kNever = std::numeric_limits<int64_t>::max();
constexpr int64_t kSecond = 1'000'000'000;
// What Linux does by default: net.ipv4.tcp_syn_retries = 6, tcp_retries2 = 15.
constexpr int64_t kConnectGivesUp = 127 * kSecond;
constexpr int64_t kSendGivesUp = 924 * kSecond;
constexpr size_t kMostDiscarded = size_t{1} << 20;
constexpr uint32_t kBoth = kReadable | kWritable;

void Touch(explore::Pending& pending, explore::ObjectId object, Effect effect) {
  pending.op.accesses.push_back({object, effect});
}

std::string HostOf(const Address& address) {
  const std::string text = address.ToString();
  return text.substr(0, text.rfind(':'));
}
bool IsLoopback(absl::string_view host) {
  return absl::StartsWith(host, "127.") || host == "[::1]";
}
bool IsAny(absl::string_view host) { return host == "0.0.0.0" || host == "[::]"; }

Address AddressOf(absl::string_view host, uint16_t port) {
  return Address::Parse(absl::StrCat(host, ":", port)).value();
}
// Fatal if it is none.
std::string Checked(absl::string_view host) {
  if (!Address::Parse(absl::StrCat(host, ":0")).ok()) {
    Fatal("lab: '%s' is no address of a node; one looks like 10.0.0.1", std::string(host).c_str());
  }
  return std::string(host);
}

LabNetwork& CurrentNetwork() {
  LabRuntime* const runtime = LabRuntime::Current();
  QUIESCE_CHECK(runtime != nullptr, "lab: there is a network only in the body of a lab");
  return runtime->network();
}

}  // namespace

// ---- what users say ---------------------------------------------------------------------------------

Link& Link::WithLatency(absl::Duration latency) {
  if (latency < absl::ZeroDuration()) {
    Fatal("lab::Link::WithLatency(%s): nothing arrives before it was sent",
          absl::FormatDuration(latency).c_str());
  }
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

// ---- nodes and links -----------------------------------------------------------------------------

LabNetwork::~LabNetwork() = default;

void LabNetwork::Begin() {
  over_ = false;
  endpoints_.clear();
  nodes_.clear();
  wires_.clear();
  placed_.clear();
  pipes_.clear();
  struck_ = {};
  refuses_ = no_descriptor_ = false;
  strikes_ = host_->NewObject();
  whole_ = host_->NewObject();
  StartFault(Fault::kRefusal, faults_.refusals(), nullptr);
  StartFault(Fault::kNoDescriptor, faults_.no_descriptors(), nullptr);
}

LabNetwork::Node* LabNetwork::FindNode(absl::string_view name) {
  std::unique_ptr<Node>& node = nodes_[std::string(name)];
  if (node == nullptr) {
    node = std::make_unique<Node>();
    node->name = std::string(name);
    node->ports = host_->NewObject();
  }
  return node.get();
}

LabNetwork::Node* LabNetwork::Here() {
  for (const uint64_t region : host_->Regions()) {
    const auto found = placed_.find(region);
    if (found != placed_.end()) return found->second;
  }
  return FindNode(kLocal);
}

std::pair<std::string, std::string> LabNetwork::Pair(absl::string_view one,
                                                     absl::string_view other) const {
  std::pair<std::string, std::string> pair(one, other);
  if (pair.second < pair.first) std::swap(pair.first, pair.second);
  return pair;
}

LabNetwork::Wire* LabNetwork::WireBetween(const Node* one, const Node* other) {
  std::unique_ptr<Wire>& wire = wires_[Pair(one->name, other->name)];
  if (wire == nullptr) {
    wire = std::make_unique<Wire>();
    wire->state = host_->NewObject();
  }
  return wire.get();
}

void LabNetwork::SetLink(absl::string_view one, absl::string_view other, Link link) {
  Wire* const wire = WireBetween(FindNode(Checked(one)), FindNode(Checked(other)));
  host_->Do([&](explore::Pending& pending) { Touch(pending, wire->state, Effect::kWrite); },
            [&] { return absl::StrCat("sets the link between ", one, " and ", other); });
  wire->link = link;
}

void LabNetwork::SetPartition(absl::string_view one, absl::string_view other, bool cut) {
  Wire* const wire = WireBetween(FindNode(Checked(one)), FindNode(Checked(other)));
  host_->Do([&](explore::Pending& pending) { Touch(pending, wire->state, Effect::kWrite); },
            [&] {
              return absl::StrCat(cut ? "cuts" : "mends", " the link between ", one, " and ",
                                  other);
            });
  wire->cut = cut;
}

void LabNetwork::PlaceOn(absl::string_view address, uint64_t region) {
  placed_[region] = FindNode(Checked(address));
}

LabNetwork::Node* LabNetwork::Find(Node* from, const Address& address) {
  const std::string host = HostOf(address);
  if (IsLoopback(host) || IsAny(host) || host == from->name) return from;
  const auto found = nodes_.find(host);
  return found == nodes_.end() ? nullptr : found->second.get();
}

// ---- sockets ----------------------------------------------------------------------------------------

LabNetwork::Endpoint& LabNetwork::Of(int fd) {
  const auto found = endpoints_.find(fd);
  QUIESCE_CHECK(found != endpoints_.end(), "lab: a descriptor that is none of the lab's network");
  return *found->second;
}

LabNetwork::Endpoint* LabNetwork::NewEndpoint() {
  auto made = std::make_unique<Endpoint>();
  Endpoint* const endpoint = made.get();
  endpoint->condition = host_->NewObject();
  endpoint->readiness = host_->NewObject();
  endpoint->faults = host_->NewObject();
  endpoint->fd = kFirstDescriptor + static_cast<int>(endpoint->condition);
  endpoint->node = Here();
  endpoints_[endpoint->fd] = std::move(made);
  return endpoint;
}

std::string LabNetwork::Name(const Endpoint& endpoint) const {
  switch (endpoint.state) {
    case Endpoint::State::kNew:
      return "new socket";
    case Endpoint::State::kListening:
      return absl::StrCat("listener ", endpoint.local.ToString());
    default:
      return absl::StrCat("socket ", endpoint.local.ToString(), " > ", endpoint.peer.ToString());
  }
}

std::string LabNetwork::Leaks() const {
  std::vector<std::string> open;
  for (const auto& [fd, endpoint] : endpoints_) {
    // Nobody has accepted it: it is the listener's.
    if (!endpoint->closed && endpoint->registration != 0) open.push_back(Name(*endpoint));
  }
  if (open.empty()) return "";
  std::ranges::sort(open);
  return absl::StrCat("LEAK: ", open.front(), " is open when the runtime has ended", "\n");
}

int LabNetwork::Open(int) {
  if (faults_.no_descriptors() > 0) {
    host_->Do(
        [&](explore::Pending& pending) {
          Touch(pending, whole_, no_descriptor_ ? Effect::kWrite : Effect::kRead);
        },
        [] { return std::string("opens a socket"); });
    if (std::exchange(no_descriptor_, false)) return -EMFILE;
  }
  return NewEndpoint()->fd;
}

int LabNetwork::Listen(int fd, const Address& address, int backlog) {
  Endpoint& endpoint = Of(fd);
  Node& node = *endpoint.node;
  host_->Do([&](explore::Pending& pending) { Touch(pending, node.ports, Effect::kWrite); },
            [&] { return absl::StrCat("listens at ", address.ToString()); });
  const std::string host = HostOf(address);
  if (!IsAny(host) && !IsLoopback(host) && host != node.name) return -EADDRNOTAVAIL;
  const uint16_t port = address.port() != 0
                            ? address.port()
                            : static_cast<uint16_t>(kFirstPort + endpoint.condition % kFirstPort);
  if (!node.listeners.try_emplace(port, &endpoint).second) return -EADDRINUSE;
  endpoint.local = AddressOf(host, port);
  endpoint.backlog = static_cast<size_t>(backlog);
  endpoint.state = Endpoint::State::kListening;
  return 0;
}

int LabNetwork::Accept(int fd, Address* peer) {
  Endpoint& listener = Of(fd);
  host_->Do(
      [&](explore::Pending& pending) {
        Touch(pending, listener.condition, listener.queue.empty() ? Effect::kRead : Effect::kWrite);
        for (const Endpoint* client : listener.not_let_in) {
          Touch(pending, client->condition, Effect::kWrite);
          Touch(pending, client->readiness, Effect::kWrite);
        }
        if (faults_.no_descriptors() > 0) {
          Touch(pending, whole_, no_descriptor_ ? Effect::kWrite : Effect::kRead);
        }
      },
      [&] { return absl::StrCat("accepts at ", listener.local.ToString()); });
  if (std::exchange(no_descriptor_, false)) return -EMFILE;
  if (listener.queue.empty()) return -EAGAIN;
  Endpoint* const accepted = listener.queue.front();
  listener.queue.pop_front();
  *peer = accepted->peer;
  if (!listener.not_let_in.empty()) {
    Endpoint* const next = listener.not_let_in.front();
    listener.not_let_in.pop_front();
    LetIn(&listener, next);
    next->state = Endpoint::State::kConnected;
    Notify(next, kWritable);
  }
  return accepted->fd;
}

bool LabNetwork::HasConnection(int fd) { return !Of(fd).queue.empty(); }

void LabNetwork::MakePipes(Endpoint* client, Node* server, Wire* wire) {
  client->out = std::make_shared<Pipe>();
  client->in = std::make_shared<Pipe>();
  const Wire* const between = WireBetween(client->node, server);
  for (const auto& pipe : {client->out, client->in}) {
    pipe->wire = wire;
    pipe->room = between->link.buffer();
    pipe->in = host_->NewObject();
    pipe->out = wire == nullptr ? pipe->in : host_->NewObject();
  }
  client->out->from = client->in->to = client;
}

// The server's end, which waits to be accepted.
void LabNetwork::LetIn(Endpoint* listener, Endpoint* client) {
  Endpoint* const server = NewEndpoint();
  server->node = listener->node;
  server->state = Endpoint::State::kConnected;
  const bool within = client->node == listener->node;
  server->local = within ? client->peer : AddressOf(listener->node->name, client->peer.port());
  server->peer = client->local;
  server->in = client->out;
  server->out = client->in;
  server->in->to = server->out->from = server;
  listener->queue.push_back(server);
  Notify(listener, kReadable);
  for (Endpoint* const end : {client, server}) {
    StartFault(Fault::kShortRead, faults_.short_reads(), end);
    StartFault(Fault::kShortWrite, faults_.short_writes(), end);
    if (!within) StartFault(Fault::kDelay, faults_.delays(), end);
  }
  StartFault(Fault::kReset, faults_.resets(), client);
}

int LabNetwork::Connect(int fd, const Address& address) {
  Endpoint& client = Of(fd);
  Node* const node = Find(client.node, address);
  const bool within = node == client.node;
  const auto find_listener = [&]() -> Endpoint* {
    const auto found = node->listeners.find(address.port());
    return found == node->listeners.end() ? nullptr : found->second;
  };
  host_->Do(
      [&](explore::Pending& pending) {
        if (faults_.refusals() > 0) {
          Touch(pending, whole_, refuses_ ? Effect::kWrite : Effect::kRead);
        }
        if (!within) return;
        Touch(pending, node->ports, Effect::kRead);
        const Endpoint* const listener = find_listener();
        if (listener == nullptr) return;
        Touch(pending, listener->condition, Effect::kWrite);
        Touch(pending, listener->readiness, Effect::kWrite);
      },
      [&] { return absl::StrCat("connects to ", address.ToString()); });
  if (std::exchange(refuses_, false)) return -ECONNREFUSED;
  if (node == nullptr) return -ENETUNREACH;
  client.peer = address;
  client.local = AddressOf(within ? HostOf(address) : client.node->name,
                           static_cast<uint16_t>(kFirstPort + client.condition % kFirstPort));
  if (within) {
    Endpoint* const listener = find_listener();
    if (listener == nullptr) return -ECONNREFUSED;
    MakePipes(&client, node, nullptr);
    if (listener->queue.size() >= listener->backlog) {
      client.state = Endpoint::State::kConnecting;
      listener->not_let_in.push_back(&client);
      return -EINPROGRESS;
    }
    client.state = Endpoint::State::kConnected;
    LetIn(listener, &client);
    return 0;
  }
  MakePipes(&client, node, WireBetween(client.node, node));
  client.state = Endpoint::State::kConnecting;
  StartWire(client.out);
  StartWire(client.in);
  Append(client.out, Segment::kConnect, "");
  return -EINPROGRESS;
}

int LabNetwork::TellError(Endpoint& endpoint) { return -std::exchange(endpoint.error, 0); }

void LabNetwork::DeclareCall(const Endpoint& endpoint, explore::Pending& pending) const {
  Touch(pending, endpoint.condition, endpoint.error != 0 ? Effect::kWrite : Effect::kRead);
}

int LabNetwork::ConnectResult(int fd) {
  Endpoint& endpoint = Of(fd);
  host_->Do([&](explore::Pending& pending) { DeclareCall(endpoint, pending); },
            [&] { return absl::StrCat("asks whether it is connected: ", Name(endpoint)); });
  if (endpoint.error != 0) return TellError(endpoint);
  return endpoint.state == Endpoint::State::kConnecting ? -EINPROGRESS : 0;
}

// ---- bytes ------------------------------------------------------------------------------------------

void LabNetwork::DeclareSend(const Endpoint& endpoint, size_t bytes,
                             explore::Pending& pending) const {
  DeclareCall(endpoint, pending);
  if (faults_.short_writes() > 0) {
    Touch(pending, endpoint.faults, endpoint.write_short ? Effect::kWrite : Effect::kRead);
  }
  if (endpoint.out == nullptr) return;
  const Pipe& pipe = *endpoint.out;
  if (pipe.wire == nullptr) {
    Touch(pending, pipe.in, Effect::kWrite);
    if (pipe.to == nullptr) return;
    Touch(pending, pipe.to->condition, Effect::kRead);
    Touch(pending, pipe.to->readiness, Effect::kWrite);
    if (pipe.to->closed) {
      // Its answer is a reset.
      Touch(pending, endpoint.condition, Effect::kWrite);
      Touch(pending, endpoint.readiness, Effect::kWrite);
    }
    return;
  }
  // If all that was ever sent has room at once, what has arrived does not matter.
  Touch(pending, pipe.out, pipe.ever_sent + bytes <= pipe.room ? Effect::kSend : Effect::kWhole);
}

void LabNetwork::BeforeSend(int fd, size_t bytes) {
  Endpoint& endpoint = Of(fd);
  host_->Do([&](explore::Pending& pending) { DeclareSend(endpoint, bytes, pending); },
            [&] { return absl::StrCat(Name(endpoint), ": sends ", bytes, " bytes"); });
}

ssize_t LabNetwork::Send(int fd, absl::Span<const std::byte> data) {
  Endpoint& endpoint = Of(fd);
  if (endpoint.error != 0) return TellError(endpoint);
  if (endpoint.state != Endpoint::State::kConnected || endpoint.out->end_sent) return -EPIPE;
  const std::shared_ptr<Pipe> pipe = endpoint.out;
  const size_t taken = pipe->wire == nullptr ? pipe->arrived.size() : pipe->in_flight;
  const size_t room = pipe->room > taken ? pipe->room - taken : 0;
  size_t size = std::min(room, data.size());
  if (std::exchange(endpoint.write_short, false) && size > 1) {
    size = 1;
    Notify(&endpoint, kWritable);
  } else if (size < data.size()) {
    pipe->wants_room = true;
  }
  if (size == 0) return -EAGAIN;
  Append(pipe, Segment::kData, std::string(reinterpret_cast<const char*>(data.data()), size));
  return static_cast<ssize_t>(size);
}

void LabNetwork::DeclareReceive(const Endpoint& endpoint, explore::Pending& pending) const {
  DeclareCall(endpoint, pending);
  if (faults_.short_reads() > 0) {
    Touch(pending, endpoint.faults, endpoint.read_short ? Effect::kWrite : Effect::kRead);
  }
  if (endpoint.in == nullptr) return;
  const Pipe& pipe = *endpoint.in;
  Touch(pending, pipe.in, pipe.arrived.empty() ? Effect::kRead : Effect::kWrite);
  if (pipe.wants_room && pipe.wire == nullptr && pipe.from != nullptr) {
    Touch(pending, pipe.from->readiness, Effect::kWrite);
  }
}

// `into`: null: nobody wants to see it.
ssize_t LabNetwork::Take(Endpoint& endpoint, size_t most, std::byte* into) {
  if (endpoint.in == nullptr) return -ENOTCONN;
  const std::shared_ptr<Pipe> pipe = endpoint.in;
  if (!pipe->arrived.empty()) {
    size_t size = std::min(most, pipe->arrived.size());
    if (std::exchange(endpoint.read_short, false) && size > 1) {
      // The rest comes as if it had arrived just now.
      size = 1;
      Notify(&endpoint, kReadable);
    }
    if (into != nullptr) std::memcpy(into, pipe->arrived.data(), size);
    pipe->arrived.erase(0, size);
    if (pipe->wire == nullptr && pipe->from != nullptr && std::exchange(pipe->wants_room, false)) {
      Notify(pipe->from, kWritable);
    }
    return static_cast<ssize_t>(size);
  }
  if (endpoint.error != 0) return TellError(endpoint);
  if (pipe->end_arrived || endpoint.state == Endpoint::State::kEnded) return 0;
  return endpoint.state == Endpoint::State::kConnected ? -EAGAIN : -ENOTCONN;
}

ssize_t LabNetwork::Receive(int fd, absl::Span<std::byte> buffer) {
  Endpoint& endpoint = Of(fd);
  host_->Do([&](explore::Pending& pending) { DeclareReceive(endpoint, pending); },
            [&] { return absl::StrCat(Name(endpoint), ": receives"); });
  return Take(endpoint, buffer.size(), buffer.data());
}

ssize_t LabNetwork::Discard(int fd) {
  Endpoint& endpoint = Of(fd);
  host_->Do([&](explore::Pending& pending) { DeclareReceive(endpoint, pending); },
            [&] { return absl::StrCat(Name(endpoint), ": discards"); });
  return Take(endpoint, kMostDiscarded, nullptr);
}

void LabNetwork::SendEnd(Endpoint& endpoint) {
  if (std::exchange(endpoint.out->end_sent, true)) return;
  Append(endpoint.out, Segment::kEnd, "");
}

int LabNetwork::ShutdownWrite(int fd) {
  Endpoint& endpoint = Of(fd);
  host_->Do([&](explore::Pending& pending) { DeclareSend(endpoint, 0, pending); },
            [&] { return absl::StrCat(Name(endpoint), ": ends its side"); });
  if (endpoint.state != Endpoint::State::kConnected) return -ENOTCONN;
  SendEnd(endpoint);
  return 0;
}

bool LabNetwork::AllAcknowledged(int fd) {
  Endpoint& endpoint = Of(fd);
  host_->Do(
      [&](explore::Pending& pending) {
        DeclareCall(endpoint, pending);
        if (endpoint.out != nullptr) Touch(pending, endpoint.out->out, Effect::kRead);
      },
      [&] { return absl::StrCat(Name(endpoint), ": has all arrived?"); });
  return endpoint.out == nullptr || endpoint.out->flight.empty();
}

void LabNetwork::Close(int fd) {
  Endpoint& endpoint = Of(fd);
  host_->Do(
      [&](explore::Pending& pending) {
        Touch(pending, endpoint.condition, Effect::kWrite);
        if (endpoint.state == Endpoint::State::kListening) {
          Touch(pending, endpoint.node->ports, Effect::kWrite);
          for (const auto* waiting : {&endpoint.queue, &endpoint.not_let_in}) {
            for (const Endpoint* end : *waiting) {
              Touch(pending, end->condition, Effect::kWrite);
              const Pipe& pipe = *end->out;
              Touch(pending, pipe.out, Effect::kWhole);
              const Endpoint* const told = waiting == &endpoint.queue ? pipe.to : end;
              if (told == nullptr) continue;
              Touch(pending, told->condition, Effect::kWrite);
              Touch(pending, told->readiness, Effect::kWrite);
            }
          }
        }
        if (endpoint.out == nullptr) return;
        DeclareSend(endpoint, 0, pending);
        const Pipe& in = *endpoint.in;
        Touch(pending, in.in, Effect::kWhole);
        if (in.arrived.empty()) return;
        if (endpoint.out->wire != nullptr) {
          Touch(pending, endpoint.out->out, Effect::kWhole);
        } else if (endpoint.out->to != nullptr) {
          Touch(pending, endpoint.out->to->condition, Effect::kWrite);
        }
      },
      [&] { return absl::StrCat("closes ", Name(endpoint)); });
  EndNow(fd);
  endpoint.closed = true;
}

// Part of the Close around it.
void LabNetwork::EndNow(int fd) {
  Endpoint& endpoint = Of(fd);
  switch (std::exchange(endpoint.state, Endpoint::State::kEnded)) {
    case Endpoint::State::kNew:
    case Endpoint::State::kEnded:
      return;
    case Endpoint::State::kListening:
      endpoint.node->listeners.erase(endpoint.local.port());
      for (Endpoint* const unaccepted : std::exchange(endpoint.queue, {})) {
        unaccepted->closed = true;
        unaccepted->state = Endpoint::State::kEnded;
        Append(unaccepted->out, Segment::kReset, "");
      }
      for (Endpoint* const client : std::exchange(endpoint.not_let_in, {})) {
        Break(client, ECONNREFUSED);
      }
      return;
    case Endpoint::State::kConnecting:
      if (endpoint.out->wire != nullptr) {
        Append(endpoint.out, Segment::kReset, "");
      } else {
        const auto listener = endpoint.node->listeners.find(endpoint.peer.port());
        if (listener != endpoint.node->listeners.end()) {
          std::erase(listener->second->not_let_in, &endpoint);
        }
      }
      return;
    case Endpoint::State::kConnected:
      if (endpoint.in->arrived.empty()) return SendEnd(endpoint);
      // RFC 2525, section 2.17.
      endpoint.out->end_sent = true;
      Append(endpoint.out, Segment::kReset, "");
      return;
  }
}

int LabNetwork::LocalAddress(int fd, Address* address) {
  *address = Of(fd).local;
  return 0;
}

int LabNetwork::PeerAddress(int fd, Address* address) {
  const Endpoint& endpoint = Of(fd);
  if (endpoint.out == nullptr) return -ENOTCONN;
  *address = endpoint.peer;
  return 0;
}

// ---- what is under way ------------------------------------------------------------------------------

void LabNetwork::Append(const std::shared_ptr<Pipe>& pipe, Segment::Kind kind, std::string bytes) {
  const int64_t now = host_->NowNanos();
  int64_t arrives = now;
  if (pipe->wire != nullptr) arrives += absl::ToInt64Nanoseconds(pipe->wire->link.latency());
  if (!pipe->flight.empty()) arrives = std::max(arrives, pipe->flight.back().arrives);
  pipe->in_flight += bytes.size();
  pipe->ever_sent += bytes.size();
  pipe->flight.push_back({kind, std::move(bytes), now, arrives, host_->now_running()});
  if (pipe->wire == nullptr) Arrive(pipe);
}

int64_t LabNetwork::GivenUpAt(const Pipe& pipe) const {
  const Segment& head = pipe.flight.front();
  return head.arrives + (head.kind == Segment::kConnect ? kConnectGivesUp : kSendGivesUp);
}

bool LabNetwork::IsGivenUp(const Pipe& pipe) const {
  return pipe.wire->cut && GivenUpAt(pipe) <= host_->NowNanos();
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
    const int64_t at = pipe->wire->cut ? GivenUpAt(*pipe) : pipe->flight.front().arrives;
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
      if (head.arrives > head.sent) host_->After(host_->latest_tick());
      Arrive(pipe);
    }
  });
}

LabNetwork::Endpoint* LabNetwork::ListenerFor(const Pipe& pipe) const {
  const auto node = nodes_.find(HostOf(pipe.from->peer));
  if (node == nodes_.end()) return nullptr;
  const auto listener = node->second->listeners.find(pipe.from->peer.port());
  return listener == node->second->listeners.end() ? nullptr : listener->second;
}

void LabNetwork::DeclareArrival(const Pipe& pipe, explore::Pending& pending) const {
  if (pipe.flight.empty()) {
    pending.enabled = over_;
    return;
  }
  pending.enabled = over_ || HasArrived(pipe) || IsGivenUp(pipe);
  if (over_) return;
  Touch(pending, pipe.wire->state, Effect::kRead);
  Touch(pending, pipe.out, pipe.wants_room ? Effect::kWhole : Effect::kReceive);
  const Segment& head = pipe.flight.front();
  const bool given_up = IsGivenUp(pipe);
  if (pipe.from != nullptr && (pipe.wants_room || given_up || head.kind == Segment::kEnd)) {
    Touch(pending, pipe.from->readiness, Effect::kWrite);
    Touch(pending, pipe.from->condition, given_up ? Effect::kWrite : Effect::kRead);
  }
  if (head.kind == Segment::kConnect) {
    const auto node = nodes_.find(HostOf(pipe.from->peer));
    if (node != nodes_.end()) Touch(pending, node->second->ports, Effect::kRead);
    if (const Endpoint* const listener = ListenerFor(pipe)) {
      Touch(pending, listener->condition, Effect::kWrite);
      Touch(pending, listener->readiness, Effect::kWrite);
    }
    Touch(pending, pipe.from->in->out, Effect::kSend);
    return;
  }
  Touch(pending, pipe.in, Effect::kWhole);
  if (pipe.to == nullptr) return;
  Touch(pending, pipe.to->condition,
        head.kind == Segment::kData || head.kind == Segment::kEnd ? Effect::kRead : Effect::kWrite);
  Touch(pending, pipe.to->readiness, Effect::kWrite);
  if (pipe.to->closed && pipe.to->out != nullptr) {
    Touch(pending, pipe.to->out->out, Effect::kWhole);
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
    pipe->flight.clear();
    pipe->in_flight = 0;
    return Break(pipe->from, ETIMEDOUT);
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
        if (endpoint->in != nullptr) Touch(pending, endpoint->in->in, Effect::kRead);
        Touch(pending, endpoint->readiness, Effect::kWrite);
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
        Touch(pending, endpoint.readiness, Effect::kWrite);
        Touch(pending, object, Effect::kWrite);
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
          Touch(pending, endpoint->readiness, Effect::kWrite);
          Touch(pending, object, Effect::kWrite);
        },
        [&] {
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
            Touch(pending, strikes_, idle() ? Effect::kRead : Effect::kWrite);
            if (victim == nullptr) return Touch(pending, whole_, Effect::kWrite);
            Touch(pending, victim->condition,
                  fault == Fault::kReset && !idle() ? Effect::kWrite : Effect::kRead);
            if (idle()) return;
            Touch(pending, victim->faults, Effect::kWrite);
            if (fault == Fault::kDelay) Touch(pending, victim->out->out, Effect::kWhole);
            if (fault != Fault::kReset) return;
            Touch(pending, victim->readiness, Effect::kWrite);
            for (const auto& pipe : {victim->out, victim->in}) {
              Touch(pending, pipe->out, Effect::kWhole);
            }
            if (const Endpoint* const other = victim->out->to) {
              Touch(pending, other->condition, Effect::kWrite);
              Touch(pending, other->readiness, Effect::kWrite);
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
