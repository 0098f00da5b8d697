#include "quiesce/runtime/net/socket.h"

#include <string>
#include <utility>

#include "quiesce/runtime/base/check.h"
#include "quiesce/runtime/net/address.h"
#include "quiesce/runtime/task/task_core.h"
#include "quiesce/runtime/trace/shared_object.h"

namespace quiesce {
inline namespace v0 {
namespace net_internal {
namespace {

// For messages: the peer's address, or the own one where there is no peer.
std::string Describe(const OwnedSocket& socket) {
  Address address;
  if (socket.calls().PeerAddress(socket.fd(), &address) == 0) return "peer " + address.ToString();
  if (socket.calls().LocalAddress(socket.fd(), &address) == 0) return "at " + address.ToString();
  return "closed";
}

[[noreturn, gnu::cold]] void TwoTasks(const char* operation, const OwnedSocket& socket,
                                      const Waiter& waiting) {
  const TaskCore* task = waiting.task();
  Fatal(
      "%s (%s) while task %llu ('%s', spawned at %s:%u) waits in %s of the same socket: one task "
      "at a "
      "time uses each direction. Give it to one task, which passes on what it gets",
      operation, Describe(socket).c_str(), static_cast<unsigned long long>(task->id),
      task->site->name, task->site->file, task->site->line, waiting.ops()->name);
}

}  // namespace

Socket::Socket(OwnedSocket owned, const RuntimeServices& services)
    : IoSource(owned.fd(), &OnEdge), services_(services), owned_(std::move(owned)) {
  ObjectMade(source(), "Socket");
}

absl::Status Socket::Register() {
  absl::Status added = services_.poller->Add(this);
  registered_ = added.ok();
  return added;
}

void Socket::Close() {
  // Where the poller keeps the file open for a while the peer hears all the same what a close would tell it.
  if (std::exchange(registered_, false) && !services_.poller->Remove(this)) calls().EndNow(fd());
  owned_.Close();
}

bool Socket::Take(SideState& state) {
  const bool ready = state.ready.load(std::memory_order_relaxed);
  state.ready.store(false, std::memory_order_relaxed);
  return ready;
}

bool Socket::TakeReady(Side side, const char* operation) {
  BeforeUse(source(), ObjectUse::kChange);
  // What comes just now is seen by Park, under the lock; so is another task that waits.
  if (!sides_[side].ready.load(std::memory_order_relaxed)) return false;
  const Waiter* waiting;
  {
    SpinLockHolder lock(lock_);
    waiting = sides_[side].waiter;
    if (waiting == nullptr) [[likely]]
      return Take(sides_[side]);
  }
  TwoTasks(operation, owned_, *waiting);
}

void Socket::SetReady(Side side) {
  SpinLockHolder lock(lock_);
  sides_[side].ready.store(true, std::memory_order_relaxed);
}

void Socket::SetNotReady(Side side) {
  SpinLockHolder lock(lock_);
  sides_[side].ready.store(false, std::memory_order_relaxed);
}

bool Socket::ParkIn(Side side, Waiter& waiter, const SocketTimer* timer, bool timer_only) {
  BeforeUse(source(), ObjectUse::kChange);
  const Waiter* waiting;
  {
    SpinLockHolder lock(lock_);
    SideState& state = sides_[side];
    waiting = state.waiter;
    if (waiting == nullptr) [[likely]] {
      if (timer != nullptr && timer->due()) return false;
      if (state.ready.load(std::memory_order_relaxed) && !timer_only) return false;
      state.waiter = &waiter;
      state.granted = false;
      state.timer_only = timer_only;
      return true;
    }
  }
  TwoTasks(waiter.ops()->name, owned_, *waiting);
}

bool Socket::Park(Side side, Waiter& waiter, const SocketTimer* timer) {
  return ParkIn(side, waiter, timer, /*timer_only=*/false);
}

bool Socket::ParkUntil(Side side, Waiter& waiter, const SocketTimer& timer) {
  return ParkIn(side, waiter, &timer, /*timer_only=*/true);
}

void Socket::Leave(Side side) {
  BeforeUse(source(), ObjectUse::kChange);
  SpinLockHolder lock(lock_);
  sides_[side].waiter = nullptr;
}

bool Socket::LeaveAndTakeReady(Side side) {
  BeforeUse(source(), ObjectUse::kChange);
  SpinLockHolder lock(lock_);
  sides_[side].waiter = nullptr;
  return Take(sides_[side]);
}

void Socket::EndShortRead() {
  if (more_after_short_read_.load(std::memory_order_relaxed)) SetReady(kRead);
}

void Socket::JoinSides() {
  SpinLockHolder lock(lock_);
  joined_ = true;
}

void Socket::CheckNobodyWaits(const char* owner) {
  BeforeUse(source(), ObjectUse::kLook);
  const Waiter* waiting = nullptr;
  {
    SpinLockHolder lock(lock_);
    for (const SideState& state : sides_) {
      if (state.waiter != nullptr) waiting = state.waiter;
    }
    if (waiting == nullptr) [[likely]]
      return;
  }
  const TaskCore* task = waiting->task();
  Fatal(
      "a %s (%s) was closed or destroyed while task %llu ('%s', spawned at %s:%u) waits in %s of "
      "it: "
      "keep it where it outlives its users, in the frame that opens their region",
      owner, Describe(owned_).c_str(), static_cast<unsigned long long>(task->id), task->site->name,
      task->site->file, task->site->line, waiting->ops()->name);
}

void Socket::Wake(SideState& state) {
  // A waiter that was cancelled in the same moment takes nothing, and leaves by itself.
  if (state.waiter != nullptr && !state.granted) state.granted = state.waiter->Grant();
}

void Socket::OnEdge(IoSource* source, uint32_t io_events) {
  auto* socket = static_cast<Socket*>(source);
  SpinLockHolder lock(socket->lock_);
  if (socket->joined_) io_events |= kReadable | kWritable;
  if ((io_events & kMoreAfterShortRead) != 0) {
    socket->more_after_short_read_.store(true, std::memory_order_relaxed);
  }
  if ((io_events & kReadable) != 0) {
    SideState& state = socket->sides_[kRead];
    state.ready.store(true, std::memory_order_relaxed);
    if (!state.timer_only) socket->Wake(state);
  }
  if ((io_events & kWritable) != 0) {
    SideState& state = socket->sides_[kWrite];
    state.ready.store(true, std::memory_order_relaxed);
    if (!state.timer_only) socket->Wake(state);
  }
}

void SocketTimer::Set(Instant at) {
  if (std::exchange(set_, true)) return;
  when = at;
  socket_.services().clock->Arm(this);
}

void SocketTimer::Stop() {
  if (!std::exchange(set_, false)) return;
  socket_.services().clock->Disarm(this);
  due_.store(false, std::memory_order_relaxed);  // Fire does not run any more
}

void SocketTimer::Fire(Timer* timer) {
  auto* self = static_cast<SocketTimer*>(timer);
  SpinLockHolder lock(self->socket_.lock_);
  self->due_.store(true, std::memory_order_release);
  Socket::SideState& state = self->socket_.sides_[self->side_];
  self->socket_.Wake(state);
}

}  // namespace net_internal
}  // namespace v0
}  // namespace quiesce
