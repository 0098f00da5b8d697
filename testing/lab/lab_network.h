// lab_network.h: nodes, links and sockets, as SocketCalls that a lab can repeat. For lab_runtime.h; users see network.h.
//
// How:        each call is one operation; what moves by itself is a task of its own: a wire for each direction of a
//             connection between two nodes, and one that tells each socket of its readiness, as a poller would.
// What depends on what:
//             a call on what it finds: a Send on the bytes before it in its direction, and on the arrival of others only if
//             a buffer could have been full; an arrival on what is read of the same direction; what a poller tells on
//             all that makes its socket ready. A fault on the calls that could meet it.
// Invariants: the number of a descriptor, and a port that nobody chose, say who has made them, so that they are the same in
//             each execution of a class.
// Threads:    the one that explores.
#ifndef QUIESCE_TESTING_LAB_LAB_NETWORK_H_
#define QUIESCE_TESTING_LAB_LAB_NETWORK_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "quiesce/runtime/net/address.h"
#include "quiesce/runtime/net/socket_calls.h"
#include "quiesce/runtime/reactor/poller.h"
#include "quiesce/testing/explore/event.h"
#include "quiesce/testing/explore/model.h"
#include "quiesce/testing/lab/faults.h"
#include "quiesce/testing/lab/network.h"

namespace quiesce::lab {

class LabNetwork final : public SocketCalls {
 public:
  // What an operation would do, whenever that is asked; and in words.
  using Declare = absl::FunctionRef<void(explore::Pending&)>;
  using Describe = absl::FunctionRef<std::string()>;
  // What a network needs of the lab that it is in.
  class Host {
   public:
    virtual ~Host() = default;
    // The running task is about to do that. Returns when it goes on.
    virtual void Do(Declare declare, Describe describe) = 0;
    // The step that is running came after that one, and could not have come before.
    virtual void After(explore::EventRef other) = 0;
    virtual explore::EventRef now_running() const = 0;
    // A task of the network's. `fault`: it may do its one step at any moment, and nobody waits for that.
    virtual void Start(const char* name, bool fault, std::function<void()> run) = 0;
    virtual explore::ObjectId NewObject() = 0;
    // One that is there before each execution.
    virtual explore::ObjectId NewObjectForAll() = 0;
    // That which a runtime's object at this address is.
    virtual explore::ObjectId ObjectAt(const void* address) = 0;
    virtual int64_t NowNanos() const = 0;
    // The step that is running came after time had come there.
    virtual void AfterTick(int64_t nanos) = 0;
    // The region whose code runs, and those above it; the innermost first.
    virtual std::vector<uint64_t> Regions() const = 0;
  };

  LabNetwork(Host* host, const Faults& faults) : host_(host), faults_(faults) {}
  ~LabNetwork();

  // Before each execution: nobody is connected.
  void Begin();
  // Of what is under way: when the next of it arrives, or is given up, that has not by now. Nanoseconds; none: the greatest.
  int64_t NextInstant() const;
  // The runtime has ended, and nothing that is under way matters any more.
  void EndAll() { over_ = true; }
  // Sockets that nobody has closed. Empty: none.
  std::string Leaks() const;

  void SetLink(absl::string_view one, absl::string_view other, Link link);
  void SetPartition(absl::string_view one, absl::string_view other, bool cut);
  void PlaceOn(absl::string_view address, uint64_t region);

  // As a Poller.
  absl::Status Add(IoSource* source);
  bool Remove(IoSource* source);

  int Open(int family) override;
  void Close(int fd) override;
  int Listen(int fd, const Address& address, int backlog) override;
  int Accept(int fd, Address* peer) override;
  bool HasConnection(int fd) override;
  int Connect(int fd, const Address& address) override;
  int ConnectResult(int fd) override;
  void BeforeSend(int fd, size_t bytes) override;
  ssize_t Send(int fd, absl::Span<const std::byte> data) override;
  ssize_t Receive(int fd, absl::Span<std::byte> buffer) override;
  ssize_t Discard(int fd) override;
  int ShutdownWrite(int fd) override;
  bool AllAcknowledged(int fd) override;
  void EndNow(int fd) override;
  int LocalAddress(int fd, Address* address) override;
  int PeerAddress(int fd, Address* address) override;

 private:
  struct Endpoint;
  struct Node {
    std::string name;
    explore::ObjectId ports = 0;  // who listens where
    std::vector<Endpoint*> listeners;
  };
  struct Wire {  // between two nodes
    Link link;
    bool cut = false;
    bool was_cut = false;
    int64_t cut_at = 0;  // the latest time
    explore::ObjectId state = 0;
  };
  struct Segment {
    enum Kind : uint8_t { kConnect, kAccepted, kData, kEnd, kReset };
    Kind kind;
    std::string bytes;
    int64_t sent;
    int64_t arrives;
    explore::EventRef sent_by;
  };
  // One direction of a connection.
  struct Pipe {
    Endpoint* from = nullptr;
    Endpoint* to = nullptr;  // null: nobody has taken the connection yet
    Endpoint* client = nullptr;
    Wire* wire = nullptr;  // null: within a node
    size_t room = 0;
    int64_t latency = 0;
    int64_t connect_gives_up = 0;  // when it has taken too long
    std::deque<Segment> flight;
    size_t in_flight = 0;  // bytes
    std::string arrived;   // and not read
    bool end_sent = false;
    bool end_arrived = false;
    bool wants_room = false;
    size_t ever_sent = 0;
    explore::ObjectId out = 0;
    explore::ObjectId in = 0;
  };
  struct Endpoint {
    enum class State : uint8_t { kNew, kListening, kConnecting, kConnected, kEnded };
    int fd = -1;
    State state = State::kNew;
    bool closed = false;
    Node* node = nullptr;
    Address local;
    Address peer;
    int error = 0;  // to be told once
    explore::ObjectId condition = 0;
    // Listening.
    size_t backlog = 0;
    bool was_full = false;
    std::deque<Endpoint*> queue;       // connections that nobody has accepted
    std::deque<Endpoint*> not_let_in;  // those for which it had no room; within a node
    // Connected.
    std::shared_ptr<Pipe> out;
    std::shared_ptr<Pipe> in;
    // In the poller.
    IoSource* source = nullptr;
    uint32_t ready = 0;  // not told yet
    explore::ObjectId readiness = 0;
    explore::EventRef made_ready_by = {0, 0};
    explore::EventRef removed_by = {0, 0};
    uint64_t registration = 0;
    // Faults.
    bool read_short = false;
    bool write_short = false;
    explore::ObjectId faults = 0;
  };
  enum class Fault : uint8_t { kReset, kShortRead, kShortWrite, kRefusal, kNoDescriptor, kDelay };
  static constexpr size_t kFaults = 6;

  Endpoint& Of(int fd);
  Endpoint* NewEndpoint(Node* node);
  static std::string HostOf(const Address& address);
  static std::string NodeName(absl::string_view host);
  // The same in all executions.
  explore::ObjectId Named(const std::string& name);
  Node* MakeNode(const std::string& name);
  Node* FindNode(const std::string& name) const;
  // For who may make it.
  void DeclareNode(const std::string& name, explore::Pending& pending) const;
  Node* Here();
  Wire* WireBetween(const std::string& one, const std::string& other);
  // Null: there is none.
  Node* NodeReachedBy(Node* from, const Address& address) const;
  static Endpoint* ListenerAt(const Node& node, const Address& address);
  // Where nobody has chosen one.
  static uint16_t ChosenPort(const Endpoint& endpoint);

  void MakePipes(Endpoint* client, Node* server, Wire* wire);
  void Append(const std::shared_ptr<Pipe>& pipe, Segment::Kind kind, std::string bytes);
  void StartWire(std::shared_ptr<Pipe> pipe);
  // Of what makes a connection.
  static bool IsHandshake(const Pipe& pipe, const Segment& segment);
  bool HasArrived(const Pipe& pipe) const;
  // It cannot arrive, for no reason that only time takes away.
  bool IsHeld(const Pipe& pipe) const;
  bool IsGivenUp(const Pipe& pipe) const;
  int64_t GivenUpAt(const Pipe& pipe) const;
  Endpoint* ListenerFor(const Pipe& pipe) const;
  void DeclareArrival(const Pipe& pipe, explore::Pending& pending) const;
  std::string DescribeArrival(const Pipe& pipe) const;
  void Arrive(const std::shared_ptr<Pipe>& pipe);
  void LetIn(Endpoint* listener, Endpoint* client);

  // Of a call that a fault meets which may happen so often, and which now has, or has not.
  void DeclareProcessFault(int times, bool struck, explore::Pending& pending) const;
  void DeclareCall(const Endpoint& endpoint, explore::Pending& pending) const;
  void DeclareSend(const Endpoint& endpoint, size_t bytes, explore::Pending& pending) const;
  void DeclareReceive(const Endpoint& endpoint, explore::Pending& pending) const;
  std::string Name(const Endpoint& endpoint) const;
  ssize_t Take(Endpoint& endpoint, size_t most, std::byte* into);
  void SendEnd(Endpoint& endpoint);
  void End(Endpoint& endpoint);
  int TellError(Endpoint& endpoint);
  void Break(Endpoint* endpoint, int error);
  void Notify(Endpoint* endpoint, uint32_t events);
  uint32_t ReadyNow(const Endpoint& endpoint) const;
  void RunPoller(Endpoint* endpoint, uint64_t registration);

  // From its making, as often as `times` in one execution and once for one `victim` (null: none in particular).
  void StartFault(Fault fault, int times, Endpoint* victim);
  void Strike(Fault fault, Endpoint* victim);
  static const char* NameOf(Fault fault);

  Host* const host_;
  const Faults faults_;
  absl::flat_hash_map<std::string, explore::ObjectId> named_;
  bool over_ = false;
  Node* here_ = nullptr;  // where code is that was put nowhere
  explore::ObjectId known_nodes_ = 0;
  absl::flat_hash_map<int, std::unique_ptr<Endpoint>> endpoints_;
  absl::flat_hash_map<std::string, std::unique_ptr<Node>> nodes_;
  absl::flat_hash_map<std::pair<std::string, std::string>, std::unique_ptr<Wire>> wires_;
  absl::flat_hash_map<uint64_t, Node*> placed_;
  std::vector<std::shared_ptr<Pipe>> pipes_;  // between nodes
  // Faults.
  std::array<int, kFaults> struck_ = {};  // how often each has
  explore::ObjectId strikes_ = 0;
  explore::ObjectId process_faults_ = 0;  // refusals, descriptors
  bool refuses_ = false;
  bool no_descriptor_ = false;
};

}  // namespace quiesce::lab

#endif  // QUIESCE_TESTING_LAB_LAB_NETWORK_H_
