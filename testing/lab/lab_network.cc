#include "quiesce/testing/lab/lab_network.h"

#include <errno.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "quiesce/runtime/base/check.h"

namespace quiesce::lab {
namespace {

using explore::Effect;

// No descriptor of the process's is as great.
constexpr int kFirstDescriptor = 1'000'000'000;
constexpr uint16_t kFirstPort = 32768;
constexpr const char* kLocal = "127.0.0.1";
// What Linux does by default: net.ipv4.tcp_syn_retries = 6.
constexpr int64_t kConnectGivesUp = int64_t{127} * 1'000'000'000;
constexpr size_t kMostDiscarded = size_t{1} << 20;

bool IsLoopback(absl::string_view host) {
  return absl::StartsWith(host, "127.") || host == "[::1]";
}
bool IsAny(absl::string_view host) { return host == "0.0.0.0" || host == "[::]"; }

Address AddressOf(absl::string_view host, uint16_t port) {
  return Address::Parse(absl::StrCat(host, ":", port)).value();
}

}  // namespace

// ---- nodes and links -----------------------------------------------------------------------------

std::string LabNetwork::HostOf(const Address& address) {
  const std::string text = address.ToString();
  return text.substr(0, text.rfind(':'));
}

// As others find it. Fatal if no node can have it.
std::string LabNetwork::NodeName(absl::string_view host) {
  const absl::StatusOr<Address> address = Address::Parse(absl::StrCat(host, ":0"));
  const std::string name = address.ok() ? HostOf(*address) : "";
  if (name.empty() || IsAny(name) || (IsLoopback(name) && name != kLocal)) {
    Fatal("lab: '%s' is no address of a node; one looks like 10.0.0.1", std::string(host).c_str());
  }
  return name;
}

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
  strikes_ = Named("strikes");
  process_faults_ = Named("faults of the process");
  known_nodes_ = Named("nodes");
  here_ = MakeNode(kLocal);
  StartFault(Fault::kRefusal, faults_.refusals(), nullptr);
  StartFault(Fault::kNoDescriptor, faults_.no_descriptors(), nullptr);
}

explore::ObjectId LabNetwork::Named(const std::string& name) {
  const auto [found, fresh] = named_.try_emplace(name, 0);
  if (fresh) found->second = host_->NewObjectForAll();
  return found->second;
}

LabNetwork::Node* LabNetwork::MakeNode(const std::string& name) {
  std::unique_ptr<Node>& node = nodes_[name];
  if (node == nullptr) {
    node = std::make_unique<Node>();
    node->name = name;
    node->ports = Named(absl::StrCat("ports of ", name));
  }
  return node.get();
}

LabNetwork::Node* LabNetwork::FindNode(const std::string& name) const {
  const auto found = nodes_.find(name);
  return found == nodes_.end() ? nullptr : found->second.get();
}

void LabNetwork::DeclareNode(const std::string& name, explore::Pending& pending) const {
  pending.op.Touch(known_nodes_, FindNode(name) == nullptr ? Effect::kWrite : Effect::kRead);
}

LabNetwork::Node* LabNetwork::Here() {
  for (const uint64_t region : host_->Regions()) {
    const auto found = placed_.find(region);
    if (found != placed_.end()) return found->second;
  }
  return here_;
}

LabNetwork::Wire* LabNetwork::WireBetween(const std::string& one, const std::string& other) {
  std::pair<std::string, std::string> ends(one, other);
  if (ends.second < ends.first) std::swap(ends.first, ends.second);
  std::unique_ptr<Wire>& wire = wires_[ends];
  if (wire == nullptr) {
    wire = std::make_unique<Wire>();
    wire->state = Named(absl::StrCat("link of ", ends.first, " and ", ends.second));
  }
  return wire.get();
}

void LabNetwork::SetLink(absl::string_view one, absl::string_view other, Link link) {
  const std::string first = NodeName(one), second = NodeName(other);
  if (first == second && link.latency() > absl::ZeroDuration()) {
    Fatal("lab::SetLink('%s', '%s'): within a node there is no latency", first.c_str(),
          second.c_str());
  }
  Wire* const wire = WireBetween(first, second);
  host_->Do(
      [&](explore::Pending& pending) {
        DeclareNode(first, pending);
        DeclareNode(second, pending);
        pending.op.Touch(wire->state, Effect::kWrite);
      },
      [&] { return absl::StrCat("sets the link between ", first, " and ", second); });
  MakeNode(first);
  MakeNode(second);
  wire->link = link;
}

void LabNetwork::SetPartition(absl::string_view one, absl::string_view other, bool cut) {
  const std::string first = NodeName(one), second = NodeName(other);
  if (first == second) {
    Fatal("lab: a node ('%s') cannot be parted from itself", first.c_str());
  }
  Wire* const wire = WireBetween(first, second);
  host_->Do(
      [&](explore::Pending& pending) {
        DeclareNode(first, pending);
        DeclareNode(second, pending);
        pending.op.Touch(wire->state, Effect::kWrite);
      },
      [&] {
        return absl::StrCat(cut ? "cuts" : "mends", " the link between ", first, " and ", second);
      });
  MakeNode(first);
  MakeNode(second);
  if (cut && !wire->cut) wire->cut_at = host_->NowNanos();
  wire->cut = cut;
  wire->was_cut |= cut;
}

void LabNetwork::PlaceOn(absl::string_view address, uint64_t region) {
  const std::string name = NodeName(address);
  host_->Do([&](explore::Pending& pending) { DeclareNode(name, pending); },
            [&] { return absl::StrCat("is on node ", name); });
  placed_[region] = MakeNode(name);
}

LabNetwork::Node* LabNetwork::NodeReachedBy(Node* from, const Address& address) const {
  const std::string host = HostOf(address);
  if (IsLoopback(host) || IsAny(host) || host == from->name) return from;
  return FindNode(host);
}

// ---- sockets ----------------------------------------------------------------------------------------

LabNetwork::Endpoint& LabNetwork::Of(int fd) {
  const auto found = endpoints_.find(fd);
  QUIESCE_CHECK(found != endpoints_.end(), "lab: a descriptor that is none of the lab's network");
  return *found->second;
}

LabNetwork::Endpoint* LabNetwork::NewEndpoint(Node* node) {
  auto made = std::make_unique<Endpoint>();
  Endpoint* const endpoint = made.get();
  endpoint->condition = host_->NewObject();
  endpoint->readiness = host_->NewObject();
  endpoint->faults = host_->NewObject();
  endpoint->fd = kFirstDescriptor + static_cast<int>(endpoint->condition);
  endpoint->node = node;
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

uint16_t LabNetwork::ChosenPort(const Endpoint& endpoint) {
  return static_cast<uint16_t>(kFirstPort + endpoint.condition % kFirstPort);
}

void LabNetwork::DeclareProcessFault(int times, bool struck, explore::Pending& pending) const {
  if (times > 0) pending.op.Touch(process_faults_, struck ? Effect::kWrite : Effect::kRead);
}

int LabNetwork::Open(int) {
  if (faults_.no_descriptors() > 0) {
    host_->Do(
        [&](explore::Pending& pending) {
          DeclareProcessFault(faults_.no_descriptors(), no_descriptor_, pending);
        },
        [] { return std::string("opens a socket"); });
    if (std::exchange(no_descriptor_, false)) return -EMFILE;
  }
  return NewEndpoint(Here())->fd;
}

int LabNetwork::Listen(int fd, const Address& address, int backlog) {
  Endpoint& endpoint = Of(fd);
  Node& node = *endpoint.node;
  host_->Do([&](explore::Pending& pending) { pending.op.Touch(node.ports, Effect::kWrite); },
            [&] { return absl::StrCat("listens at ", address.ToString()); });
  const std::string host = HostOf(address);
  if (!IsAny(host) && !IsLoopback(host) && host != node.name) return -EADDRNOTAVAIL;
  const uint16_t port = address.port() != 0 ? address.port() : ChosenPort(endpoint);
  for (const Endpoint* const other : node.listeners) {
    const std::string taken = HostOf(other->local);
    const bool meets = IsAny(host) || IsAny(taken) || host == taken;
    if (other->local.port() == port && meets) return -EADDRINUSE;
  }
  node.listeners.push_back(&endpoint);
  endpoint.local = AddressOf(host, port);
  endpoint.backlog = static_cast<size_t>(backlog);
  endpoint.state = Endpoint::State::kListening;
  return 0;
}

int LabNetwork::Accept(int fd, Address* peer) {
  Endpoint& listener = Of(fd);
  host_->Do(
      [&](explore::Pending& pending) {
        pending.op.Touch(listener.condition,
                         listener.queue.empty() ? Effect::kRead : Effect::kWrite);
        if (!listener.not_let_in.empty()) pending.op.Touch(listener.readiness, Effect::kWrite);
        for (const Endpoint* client : listener.not_let_in) {
          pending.op.Touch(client->condition, Effect::kWrite);
          pending.op.Touch(client->readiness, Effect::kWrite);
        }
        DeclareProcessFault(faults_.no_descriptors(), no_descriptor_, pending);
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
  const Wire* const between = WireBetween(client->node->name, server->name);
  for (const auto& pipe : {client->out, client->in}) {
    pipe->wire = wire;
    pipe->client = client;
    pipe->room = between->link.buffer();
    pipe->latency = absl::ToInt64Nanoseconds(between->link.latency());
    pipe->connect_gives_up = host_->NowNanos() + kConnectGivesUp;
    pipe->in = host_->NewObject();
    pipe->out = wire == nullptr ? pipe->in : host_->NewObject();
  }
  client->out->from = client->in->to = client;
}

// The server's end, which waits to be accepted.
void LabNetwork::LetIn(Endpoint* listener, Endpoint* client) {
  Endpoint* const server = NewEndpoint(listener->node);
  server->state = Endpoint::State::kConnected;
  const bool within = client->node == listener->node;
  server->local = within ? client->peer : AddressOf(listener->node->name, client->peer.port());
  server->peer = client->local;
  server->in = client->out;
  server->out = client->in;
  server->in->to = server->out->from = server;
  listener->queue.push_back(server);
  listener->was_full |= listener->queue.size() >= listener->backlog;
  Notify(listener, kReadable);
  for (Endpoint* const end : {client, server}) {
    StartFault(Fault::kShortRead, faults_.short_reads(), end);
    StartFault(Fault::kShortWrite, faults_.short_writes(), end);
    if (!within) StartFault(Fault::kDelay, faults_.delays(), end);
  }
  StartFault(Fault::kReset, faults_.resets(), client);
}

LabNetwork::Endpoint* LabNetwork::ListenerAt(const Node& node, const Address& address) {
  const auto found = std::ranges::find_if(node.listeners, [&](const Endpoint* listener) {
    const std::string bound = HostOf(listener->local);
    return listener->local.port() == address.port() &&
           (IsAny(bound) || bound == HostOf(address) || IsAny(HostOf(address)));
  });
  return found == node.listeners.end() ? nullptr : *found;
}

int LabNetwork::Connect(int fd, const Address& address) {
  Endpoint& client = Of(fd);
  const Node* const here = client.node;
  host_->Do(
      [&](explore::Pending& pending) {
        DeclareProcessFault(faults_.refusals(), refuses_, pending);
        pending.op.Touch(known_nodes_, Effect::kRead);
        const Node* const node = NodeReachedBy(client.node, address);
        if (node == nullptr) return;
        pending.op.Touch(WireBetween(here->name, node->name)->state, Effect::kRead);
        if (node != here) return;
        pending.op.Touch(node->ports, Effect::kRead);
        const Endpoint* const listener = ListenerAt(*node, address);
        if (listener == nullptr) return;
        pending.op.Touch(listener->condition, Effect::kWrite);
        pending.op.Touch(listener->readiness, Effect::kWrite);
      },
      [&] { return absl::StrCat("connects to ", address.ToString()); });
  if (std::exchange(refuses_, false)) return -ECONNREFUSED;
  Node* const node = NodeReachedBy(client.node, address);
  if (node == nullptr) return -ENETUNREACH;
  client.peer = address;
  client.local = AddressOf(node == here ? HostOf(address) : here->name, ChosenPort(client));
  if (node == here) {
    Endpoint* const listener = ListenerAt(*node, address);
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
  MakePipes(&client, node, WireBetween(here->name, node->name));
  client.state = Endpoint::State::kConnecting;
  StartWire(client.out);
  StartWire(client.in);
  Append(client.out, Segment::kConnect, "");
  return -EINPROGRESS;
}

int LabNetwork::TellError(Endpoint& endpoint) { return -std::exchange(endpoint.error, 0); }

void LabNetwork::DeclareCall(const Endpoint& endpoint, explore::Pending& pending) const {
  pending.op.Touch(endpoint.condition, endpoint.error != 0 ? Effect::kWrite : Effect::kRead);
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
    pending.op.Touch(endpoint.faults, endpoint.write_short ? Effect::kWrite : Effect::kRead);
    if (endpoint.write_short) pending.op.Touch(endpoint.readiness, Effect::kWrite);
  }
  if (endpoint.out == nullptr) return;
  const Pipe& pipe = *endpoint.out;
  if (pipe.wire == nullptr) {
    pending.op.Touch(pipe.in, Effect::kWrite);
    if (pipe.to == nullptr) return;
    pending.op.Touch(pipe.to->condition, Effect::kRead);
    pending.op.Touch(pipe.to->readiness, Effect::kWrite);
    if (pipe.to->closed) {
      // Its answer is a reset.
      pending.op.Touch(endpoint.condition, Effect::kWrite);
      pending.op.Touch(endpoint.readiness, Effect::kWrite);
    }
    return;
  }
  // If all that was ever sent has room at once, what has arrived does not matter.
  pending.op.Touch(pipe.out, pipe.ever_sent + bytes <= pipe.room ? Effect::kSend : Effect::kWhole);
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
    pending.op.Touch(endpoint.faults, endpoint.read_short ? Effect::kWrite : Effect::kRead);
    if (endpoint.read_short) pending.op.Touch(endpoint.readiness, Effect::kWrite);
  }
  if (endpoint.in == nullptr) return;
  const Pipe& pipe = *endpoint.in;
  pending.op.Touch(pipe.in, pipe.arrived.empty() ? Effect::kRead : Effect::kWrite);
  if (pipe.wants_room && pipe.wire == nullptr && pipe.from != nullptr) {
    pending.op.Touch(pipe.from->readiness, Effect::kWrite);
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
  if (pipe->end_arrived) return 0;  // also if the connection has broken since, as with Linux
  if (endpoint.error != 0) return TellError(endpoint);
  if (endpoint.state == Endpoint::State::kEnded) return 0;
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
  host_->Do(
      [&](explore::Pending& pending) {
        DeclareSend(endpoint, 0, pending);
        pending.op.Touch(endpoint.readiness, Effect::kWrite);  // that it has arrived is told
      },
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
        if (endpoint.out != nullptr) pending.op.Touch(endpoint.out->out, Effect::kRead);
      },
      [&] { return absl::StrCat(Name(endpoint), ": has all arrived?"); });
  return endpoint.out == nullptr || endpoint.out->flight.empty();
}

void LabNetwork::Close(int fd) {
  Endpoint& endpoint = Of(fd);
  host_->Do(
      [&](explore::Pending& pending) {
        pending.op.Touch(endpoint.condition, Effect::kWrite);
        if (endpoint.state == Endpoint::State::kListening) {
          pending.op.Touch(endpoint.node->ports, Effect::kWrite);
          for (const auto* waiting : {&endpoint.queue, &endpoint.not_let_in}) {
            for (const Endpoint* end : *waiting) {
              pending.op.Touch(end->condition, Effect::kWrite);
              const Pipe& pipe = *end->out;
              pending.op.Touch(pipe.out, Effect::kWhole);
              const Endpoint* const told = waiting == &endpoint.queue ? pipe.to : end;
              if (told == nullptr) continue;
              pending.op.Touch(told->condition, Effect::kWrite);
              pending.op.Touch(told->readiness, Effect::kWrite);
            }
          }
        }
        if (endpoint.out == nullptr) return;
        DeclareSend(endpoint, 0, pending);
        const Pipe& in = *endpoint.in;
        pending.op.Touch(in.in, Effect::kWhole);
        if (in.arrived.empty()) return;
        if (endpoint.out->wire != nullptr) {
          pending.op.Touch(endpoint.out->out, Effect::kWhole);
        } else if (endpoint.out->to != nullptr) {
          pending.op.Touch(endpoint.out->to->condition, Effect::kWrite);
        }
      },
      [&] { return absl::StrCat("closes ", Name(endpoint)); });
  End(endpoint);
  endpoint.closed = true;
}

void LabNetwork::EndNow(int) { Fatal("lab: Remove lets go at once, so nobody asks for this"); }

void LabNetwork::End(Endpoint& endpoint) {
  switch (std::exchange(endpoint.state, Endpoint::State::kEnded)) {
    case Endpoint::State::kNew:
    case Endpoint::State::kEnded:
      return;
    case Endpoint::State::kListening:
      std::erase(endpoint.node->listeners, &endpoint);
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
        Endpoint* const listener = ListenerAt(*endpoint.node, endpoint.peer);
        if (listener != nullptr) std::erase(listener->not_let_in, &endpoint);
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

}  // namespace quiesce::lab
