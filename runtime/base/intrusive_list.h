// intrusive_list.h: linked lists whose hooks live in the elements, so that queueing never allocates.
//
// Example:    struct Waiter : ListHook {};  IntrusiveList<Waiter> waiters;  waiters.PushBack(&w);
// Invariants: (1) an element is in at most one list for each hook; (2) an unlinked ListHook has
//             null pointers, so `linked()` is exact (but for kUnsetHook); (3) an element outlives its membership.
// Threads:    none by itself; the owner's lock guards a list and the hooks in it.
#ifndef QUIESCE_RUNTIME_BASE_INTRUSIVE_LIST_H_
#define QUIESCE_RUNTIME_BASE_INTRUSIVE_LIST_H_

#include <cstddef>

#include "quiesce/runtime/base/version.h"

namespace quiesce {
inline namespace v0 {

// For a hook of what is made often and seldom queued: nothing is written before that, and nobody may ask before.
struct UnsetHook {};
inline constexpr UnsetHook kUnsetHook;

struct ListHook {
  constexpr ListHook() : next(nullptr), prev(nullptr) {}
  explicit ListHook(UnsetHook) {}
  ListHook* next;
  ListHook* prev;
  bool linked() const { return next != nullptr; }
};

// Doubly linked, circular; O(1) insert and remove anywhere. T derives from Hook, Hook from ListHook (an
// element that is in two lists at once derives from two distinct hooks).
template <class T, class Hook = ListHook>
class IntrusiveList {
 public:
  IntrusiveList() { head_.next = head_.prev = &head_; }
  IntrusiveList(const IntrusiveList&) = delete;
  IntrusiveList& operator=(const IntrusiveList&) = delete;

  bool empty() const { return head_.next == &head_; }
  T* front() const { return empty() ? nullptr : FromHook(head_.next); }
  // The element after `element`, or null at the end.
  T* Next(const T* element) const {
    ListHook* next = static_cast<const Hook*>(element)->next;
    return next == &head_ ? nullptr : FromHook(next);
  }

  void PushBack(T* element) { InsertBefore(&head_, ToHook(element)); }
  void PushFront(T* element) { InsertBefore(head_.next, ToHook(element)); }
  T* PopFront() {
    T* element = front();
    if (element != nullptr) Remove(element);
    return element;
  }
  static void Remove(T* element) {
    ListHook* hook = ToHook(element);
    hook->prev->next = hook->next;
    hook->next->prev = hook->prev;
    hook->next = hook->prev = nullptr;
  }
  // Moves all of `other` behind what is here. O(1).
  void Append(IntrusiveList& other) {
    if (other.empty()) return;
    other.head_.next->prev = head_.prev;
    head_.prev->next = other.head_.next;
    other.head_.prev->next = &head_;
    head_.prev = other.head_.prev;
    other.head_.next = other.head_.prev = &other.head_;
  }
  static bool Linked(const T* element) { return static_cast<const Hook*>(element)->linked(); }

 private:
  static T* FromHook(ListHook* hook) { return static_cast<T*>(static_cast<Hook*>(hook)); }
  static ListHook* ToHook(T* element) { return static_cast<Hook*>(element); }
  static void InsertBefore(ListHook* position, ListHook* hook) {
    hook->next = position;
    hook->prev = position->prev;
    position->prev->next = hook;
    position->prev = hook;
  }

  ListHook head_;
};

// Singly linked FIFO through a member `T* next`.
template <class T>
class IntrusiveQueue {
 public:
  IntrusiveQueue() = default;
  IntrusiveQueue(IntrusiveQueue&& other) noexcept
      : head_(other.head_), tail_(other.tail_), size_(other.size_) {
    other.head_ = other.tail_ = nullptr;
    other.size_ = 0;
  }
  IntrusiveQueue(const IntrusiveQueue&) = delete;
  IntrusiveQueue& operator=(const IntrusiveQueue&) = delete;

  bool empty() const { return head_ == nullptr; }
  size_t size() const { return size_; }
  T* front() const { return head_; }

  void PushBack(T* element) {
    element->next = nullptr;
    (tail_ == nullptr ? head_ : tail_->next) = element;
    tail_ = element;
    ++size_;
  }
  T* PopFront() {
    T* element = head_;
    if (element == nullptr) return nullptr;
    head_ = element->next;
    if (head_ == nullptr) tail_ = nullptr;
    element->next = nullptr;
    --size_;
    return element;
  }
  // Moves all of `other` behind what is here.
  void Append(IntrusiveQueue& other) {
    if (other.empty()) return;
    (tail_ == nullptr ? head_ : tail_->next) = other.head_;
    tail_ = other.tail_;
    size_ += other.size_;
    other.head_ = other.tail_ = nullptr;
    other.size_ = 0;
  }
  // Moves the first `count` elements (all, if fewer) to the back of `to`. O(count).
  void MoveFront(size_t count, IntrusiveQueue& to) {
    for (; count > 0 && !empty(); --count) to.PushBack(PopFront());
  }

 private:
  T* head_ = nullptr;
  T* tail_ = nullptr;
  size_t size_ = 0;
};

}  // namespace v0
}  // namespace quiesce

#endif  // QUIESCE_RUNTIME_BASE_INTRUSIVE_LIST_H_
