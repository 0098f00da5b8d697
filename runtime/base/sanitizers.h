// sanitizers.h: QUIESCE_ASAN and QUIESCE_TSAN: 1 where this is compiled for that sanitizer, else 0.
//
// Why:        g++ defines a macro for each, and clang answers a question.
#ifndef QUIESCE_RUNTIME_BASE_SANITIZERS_H_
#define QUIESCE_RUNTIME_BASE_SANITIZERS_H_

#if defined(__has_feature)
#define QUIESCE_ASAN __has_feature(address_sanitizer)
#define QUIESCE_TSAN __has_feature(thread_sanitizer)
#else
#if defined(__SANITIZE_ADDRESS__)
#define QUIESCE_ASAN 1
#else
#define QUIESCE_ASAN 0
#endif
#if defined(__SANITIZE_THREAD__)
#define QUIESCE_TSAN 1
#else
#define QUIESCE_TSAN 0
#endif
#endif

#endif  // QUIESCE_RUNTIME_BASE_SANITIZERS_H_
