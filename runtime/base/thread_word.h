// thread_word.h: a thread-local word, read where a coroutine could inline it.
//
// Why:        a coroutine may be on another thread after a suspension, and compilers keep the address of a
//             thread-local. So it is read by hand, in two instructions that they know nothing of, instead of by a
//             call for which registers are spilled.
// Example:    extern constinit thread_local Slot slot asm("quiesce_v0_slot") QUIESCE_THREAD_WORD_MODEL;   // in a .cc
//             #ifdef QUIESCE_READ_THREAD_WORD
//             inline uint64_t Read() { return QUIESCE_READ_THREAD_WORD("quiesce_v0_slot"); }   // its first 8 bytes
//             #else
//             uint64_t Read();   // never inlined
//             #endif
// Limits:     the variable is constinit and trivial to destroy, so that nothing has to be constructed at an access;
//             a shared library that has it must be loaded when the program starts.
#ifndef QUIESCE_RUNTIME_BASE_THREAD_WORD_H_
#define QUIESCE_RUNTIME_BASE_THREAD_WORD_H_

#include <cstdint>

#if defined(__x86_64__) && defined(__ELF__) && !defined(__ILP32__)
#define QUIESCE_THREAD_WORD_MODEL __attribute__((tls_model("initial-exec")))
#define QUIESCE_READ_THREAD_WORD(symbol)                                                    \
  ({                                                                                        \
    uint64_t word;                                                                          \
    asm volatile("movq " symbol "@gottpoff(%%rip), %0\n\tmovq %%fs:(%0), %0" : "=r"(word)); \
    word;                                                                                   \
  })
#else
#define QUIESCE_THREAD_WORD_MODEL
#endif

// Before the definition of one that is read by name, which optimisation of the whole program does not see.
#if defined(__clang__)
#define QUIESCE_THREAD_WORD_USED [[gnu::used]]
#else
#define QUIESCE_THREAD_WORD_USED [[gnu::used, gnu::externally_visible]]
#endif

#endif  // QUIESCE_RUNTIME_BASE_THREAD_WORD_H_
