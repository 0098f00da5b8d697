// estimate.h: how many classes a program may have that is too big to be explored.
//
// Why:        "more than a million" is no reason to wait, or to give up. Two estimates, which fail in different ways, say
//             whether it is two million or a trillion.
// How rough:  of 14 programs whose number is known (golden_programs.h), the ratio of the estimate to the truth when so much
//             had been explored, the least, the median and the most:
//                                  0.1 %               1 %              10 %              50 %
//               by recursion    0.003 0.04 1.0    0.02 0.2  2.5    0.2  0.9   4.0    0.6  1.0  18.8
//               by recapture    0.009 0.3  1.0    0.04 0.7  9.9    0.3  0.9  16.6    0.6  1.0   2.2
//             By recursion (Explorer::EstimateClasses) it is too low early, since what only later executions will find is not
//             in it. By recapture it is too low where random walks go where the exploration began, and too high where
//             they are elsewhere; of less than a thousandth it says only that.
// Threads:    values.
#ifndef QUIESCE_TESTING_EXPLORE_ESTIMATE_H_
#define QUIESCE_TESTING_EXPLORE_ESTIMATE_H_

#include <cstdint>

namespace quiesce::explore {

// `marked` classes have been explored; of `caught` random executions, `recaught` are of one of those.
// Source: Lincoln, Petersen; in the form of Chapman, 1951, which is defined also where none is.
double EstimateByRecapture(uint64_t marked, uint64_t caught, uint64_t recaught);

}  // namespace quiesce::explore

#endif  // QUIESCE_TESTING_EXPLORE_ESTIMATE_H_
