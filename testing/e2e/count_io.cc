// count_io.cc: preloaded into a server under test; counts what its socket calls return.
//
// At the end of the process "RECEIVED SENT\n" goes to $COUNT_IO_FILE. Input that is discarded (MSG_TRUNC)
// has not been given to anybody and does not count.
#include <dlfcn.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>

namespace {

std::atomic<long long> received{0};
std::atomic<long long> sent{0};

template <class Function>
Function Next(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

void Count(std::atomic<long long>& total, ssize_t n) {
  if (n > 0) total.fetch_add(n, std::memory_order_relaxed);
}

struct AtEnd {
  ~AtEnd() {
    const char* path = std::getenv("COUNT_IO_FILE");
    std::FILE* file = path == nullptr ? nullptr : std::fopen(path, "w");
    if (file == nullptr) return;
    std::fprintf(file, "%lld %lld\n", received.load(), sent.load());
    std::fclose(file);
  }
} at_end;

}  // namespace

extern "C" {

ssize_t recv(int fd, void* buffer, size_t size, int flags) {
  static auto next = Next<ssize_t (*)(int, void*, size_t, int)>("recv");
  const ssize_t n = next(fd, buffer, size, flags);
  if ((flags & MSG_TRUNC) == 0) Count(received, n);
  return n;
}

ssize_t send(int fd, const void* buffer, size_t size, int flags) {
  static auto next = Next<ssize_t (*)(int, const void*, size_t, int)>("send");
  const ssize_t n = next(fd, buffer, size, flags);
  Count(sent, n);
  return n;
}

}  // extern "C"
