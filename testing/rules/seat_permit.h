// seat_permit.h: a kind of permit as a user would make it, for the tests of what permits promise.
#ifndef QUIESCE_TESTING_RULES_SEAT_PERMIT_H_
#define QUIESCE_TESTING_RULES_SEAT_PERMIT_H_

#include <atomic>
#include <source_location>
#include <utility>

#include "quiesce/runtime/cx/cx.h"
#include "quiesce/runtime/obligation/permit.h"
#include "quiesce/runtime/task/task.h"

namespace quiesce {
namespace rules {

// Counts what became of its seats.
struct Hall {
  std::atomic<int> booked{0};
  std::atomic<int> completed{0};
  std::atomic<int> given_back{0};
};

struct SeatSlot {
  static constexpr PermitKind kKind = {"SeatPermit", "Book"};
  explicit SeatSlot(Hall* hall) : hall(hall) {}
  void Abort() { ++hall->given_back; }
  void Complete() { ++hall->completed; }
  Hall* hall;
};

class [[nodiscard]] SeatPermit : public Permit<SeatSlot> {
 public:
  SeatPermit(const CxBase& cx, Hall* hall,
             std::source_location where = std::source_location::current())
      : Permit(cx, SeatSlot(hall), where) {}
  // By a thread that is no task.
  explicit SeatPermit(Hall* hall, std::source_location where = std::source_location::current())
      : Permit(SeatSlot(hall), where) {}

  // False if the seat had been revoked, and is given back.
  bool Book() && {
    return std::move(*this).Act([](SeatSlot& slot) { ++slot.hall->booked; });
  }
};

// A task that ends with a seat.
inline Task<SeatPermit> ReserveSeat(Cx cx, Hall* hall) {
  SeatPermit permit(cx, hall);
  co_return std::move(permit);
}

}  // namespace rules
}  // namespace quiesce

#endif  // QUIESCE_TESTING_RULES_SEAT_PERMIT_H_
