// This codebase's own testing/testing.h.
#ifndef CONSUMER_TESTING_TESTING_H_
#define CONSUMER_TESTING_TESTING_H_

namespace consumer {
inline const char* Testing() { return "its own testing/testing.h"; }
}  // namespace consumer

#endif  // CONSUMER_TESTING_TESTING_H_
