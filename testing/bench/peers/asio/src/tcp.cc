// tcp_*: 64-byte echoes over loopback, both ends on the same contexts, TCP_NODELAY on both.
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <exception>
#include <memory>
#include <utility>
#include <vector>

#include "quiesce/testing/bench/peers/asio/src/harness.h"

namespace asio_peer {
namespace {

using asio::ip::tcp;
using Socket = asio::basic_stream_socket<tcp, Executor>;

constexpr size_t kMessage = 64;
constexpr std::array<char, kMessage> kQuestion{};
using Buffer = std::array<char, 1024>;

// What happens on one context.
struct Group {
  std::vector<Socket> idle;             // the asking ends on which nothing happens
  std::atomic<size_t> asking{0};        // clients that are not done
  double ended_at = 0;                  // when the last of them was, as NowNs
  std::vector<double>* took = nullptr;  // if not null, gets the time of each round trip

  // The idle ones leave with the last active one; their echoes then end, and with them the run of the context.
  void ClientEnds() {
    if (asking.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    ended_at = NowNs();
    idle.clear();
  }
};

// Writes at once what the kernel takes, which is nearly always all, and spares that a way through the run queue.
size_t WriteNow(Socket& socket, asio::const_buffer data) {
  asio::error_code error;
  const size_t written = socket.write_some(data, error);
  if (error && error != asio::error::would_block) Fail("write: " + error.message());
  return written;
}

// ---- callbacks ----------------------------------------------------------------------------------------------

template <bool kWriteNow>
class Echo {
 public:
  explicit Echo(Socket socket) : socket_(std::move(socket)) {}

  void Read() {
    socket_.async_read_some(asio::buffer(buffer_), [this](asio::error_code error, size_t n) {
      if (!error) Write(asio::buffer(buffer_.data(), n));
    });
  }

 private:
  void Write(asio::const_buffer answer) {
    if (kWriteNow) {
      answer += WriteNow(socket_, answer);
      if (answer.size() == 0) return Read();
    }
    asio::async_write(socket_, answer, [this](asio::error_code error, size_t) {
      if (!error) Read();
    });
  }

  Socket socket_;
  Buffer buffer_;
};

template <bool kWriteNow>
class Client {
 public:
  Client(Socket socket, size_t times, Group* group)
      : socket_(std::move(socket)), left_(times), group_(group) {}

  void Ask() {
    if (left_ == 0) {
      socket_.close();
      return group_->ClientEnds();
    }
    --left_;
    got_ = 0;
    if (group_->took != nullptr) asked_at_ = NowNs();
    asio::const_buffer question = asio::buffer(kQuestion);
    if (kWriteNow) {
      question += WriteNow(socket_, question);
      if (question.size() == 0) return Read();
    }
    asio::async_write(socket_, question, [this](asio::error_code error, size_t) {
      if (error) Fail("write: " + error.message());
      Read();
    });
  }

 private:
  void Read() {
    socket_.async_read_some(asio::buffer(buffer_), [this](asio::error_code error, size_t n) {
      if (error) Fail("read: " + error.message());
      got_ += n;
      if (got_ < kMessage) return Read();
      if (group_->took != nullptr) group_->took->push_back(NowNs() - asked_at_);
      Ask();
    });
  }

  Socket socket_;
  size_t left_;
  Group* const group_;
  size_t got_ = 0;
  double asked_at_ = 0;
  Buffer buffer_;
};

template <bool kWriteNow>
class Callbacks {
 public:
  void Serve(Socket socket) {
    echoes_.push_back(std::make_unique<Echo<kWriteNow>>(std::move(socket)));
    echoes_.back()->Read();
  }
  void Ask(Socket socket, size_t times, Group* group) {
    const Executor executor = socket.get_executor();
    clients_.push_back(std::make_unique<Client<kWriteNow>>(std::move(socket), times, group));
    asio::post(executor, [client = clients_.back().get()] { client->Ask(); });
  }

 private:
  std::vector<std::unique_ptr<Echo<kWriteNow>>> echoes_;
  std::vector<std::unique_ptr<Client<kWriteNow>>> clients_;
};

// ---- coroutines ---------------------------------------------------------------------------------------------

template <bool kWriteNow>
Task<void> EchoTask(Socket socket) {
  Buffer buffer;
  while (true) {
    asio::error_code error;
    const size_t n =
        co_await socket.async_read_some(asio::buffer(buffer), asio::redirect_error(kAwait, error));
    if (error) co_return;
    asio::const_buffer answer = asio::buffer(buffer.data(), n);
    if (kWriteNow) answer += WriteNow(socket, answer);
    if (answer.size() != 0) co_await asio::async_write(socket, answer, kAwait);
  }
}

template <bool kWriteNow>
Task<void> ClientTask(Socket socket, size_t times, Group* group) {
  Buffer buffer;
  for (size_t i = 0; i < times; ++i) {
    const double asked_at = group->took != nullptr ? NowNs() : 0;
    asio::const_buffer question = asio::buffer(kQuestion);
    if (kWriteNow) question += WriteNow(socket, question);
    if (question.size() != 0) co_await asio::async_write(socket, question, kAwait);
    for (size_t got = 0; got < kMessage;) {
      got += co_await socket.async_read_some(asio::buffer(buffer), kAwait);
    }
    if (group->took != nullptr) group->took->push_back(NowNs() - asked_at);
  }
  socket.close();
  group->ClientEnds();
}

void RethrowError(std::exception_ptr error) {
  if (error) std::rethrow_exception(error);
}

template <bool kWriteNow>
class Coroutines {
 public:
  void Serve(Socket socket) {
    const Executor executor = socket.get_executor();
    asio::co_spawn(executor, EchoTask<kWriteNow>(std::move(socket)), &RethrowError);
  }
  // Begins in Run, as a posted handler does.
  void Ask(Socket socket, size_t times, Group* group) {
    const Executor executor = socket.get_executor();
    asio::co_spawn(executor, ClientTask<kWriteNow>(std::move(socket), times, group), &RethrowError);
  }
};

// ---- rounds -------------------------------------------------------------------------------------------------

std::pair<Socket, Socket> Connect(asio::io_context& context,
                                  asio::basic_socket_acceptor<tcp, Executor>& acceptor) {
  Socket client(context);
  client.connect(acceptor.local_endpoint());
  Socket server(context);
  acceptor.accept(server);
  for (Socket* socket : {&client, &server}) {
    socket->set_option(tcp::no_delay(true));
    socket->non_blocking(true);
  }
  return {std::move(client), std::move(server)};
}

// Connects first, and lets every echo park in its read; the time runs from the first question to the last answer.
template <class Ends>
double Round(Pool& pool, size_t n, size_t active, size_t idle, std::vector<double>* took) {
  std::vector<Group> groups(pool.size());
  Ends ends;
  asio::io_context for_acceptor;
  asio::basic_socket_acceptor<tcp, Executor> acceptor(
      for_acceptor, tcp::endpoint(asio::ip::address_v4::loopback(), 0));
  std::vector<std::pair<Socket, Group*>> asking;
  for (size_t i = 0; i < active + idle; ++i) {
    Group& group = groups[i % groups.size()];
    auto [client, server] = Connect(pool.context(i % groups.size()), acceptor);
    ends.Serve(std::move(server));
    if (i < active) {
      asking.emplace_back(std::move(client), &group);
      ++group.asking;
    } else {
      group.idle.push_back(std::move(client));
    }
  }
  for (size_t i = 0; i < pool.size(); ++i) {
    pool.context(i).poll();
    pool.context(i).restart();
  }
  for (auto& [client, group] : asking) {
    group->took = took;
    ends.Ask(std::move(client), n / active, group);
  }
  pool.Run();
  double ended_at = 0;
  for (const Group& group : groups) ended_at = std::max(ended_at, group.ended_at);
  return ended_at - pool.started_at();
}

template <class Ends>
double OneConnection(Pool& pool, size_t n) {
  return Round<Ends>(pool, n, 1, 0, nullptr);
}

template <class Ends>
std::vector<double> OneConnectionTimed(Pool& pool, size_t n) {
  std::vector<double> took;
  took.reserve(n);
  Round<Ends>(pool, n, 1, 0, &took);
  return took;
}

constexpr size_t kActive = 64;

template <class Ends>
double ManyConnections(Pool& pool, size_t n) {
  return Round<Ends>(pool, n, kActive, 0, nullptr);
}

// 9,900 in all, or as many as the limit of descriptors leaves: two for each, and some for the rest.
size_t Connections() {
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur < 200 + 2 * kActive) {
    Fail("the limit of descriptors leaves too few connections");
  }
  return std::min<size_t>((limit.rlim_cur - 200) / 2, 9'900);
}

template <class Ends>
double AmongIdle(Pool& pool, size_t n) {
  return Round<Ends>(pool, n, kActive, Connections() - kActive, nullptr);
}

// With several workers also a context for each, with its share of the connections.
std::vector<Kind> Kinds(size_t workers) {
  std::vector<Kind> kinds = SharedContext(workers);
  if (workers > 1) kinds.push_back(OwnContexts(workers)[0]);
  return kinds;
}

Arguments SharedByActive(const Arguments& arguments) {
  Arguments shared = arguments;
  shared.n = std::max(arguments.n / kActive, size_t{1}) * kActive;
  return shared;
}

}  // namespace

// Percentiles come from rounds of their own: the clock that they read for each round trip is in the way.
void TcpRoundTrip(const Arguments& arguments) {
  const std::vector<Kind> kinds = Kinds(arguments.workers);
  ReportBest(arguments, kinds,
             {{"callbacks", &OneConnection<Callbacks<false>>},
              {"callbacks, write at once", &OneConnection<Callbacks<true>>},
              {"coroutines", &OneConnection<Coroutines<false>>, /*coroutine=*/true},
              {"coroutines, write at once", &OneConnection<Coroutines<true>>, /*coroutine=*/true}},
             "us/op", 1e3);
  ReportPercentiles(arguments, kinds,
                    {{"callbacks, write at once", &OneConnectionTimed<Callbacks<true>>},
                     {"coroutines, write at once", &OneConnectionTimed<Coroutines<true>>}});
}

void TcpRoundTrip64(const Arguments& arguments) {
  ReportBest(
      SharedByActive(arguments), Kinds(arguments.workers),
      {{"callbacks", &ManyConnections<Callbacks<false>>},
       {"callbacks, write at once", &ManyConnections<Callbacks<true>>},
       {"coroutines", &ManyConnections<Coroutines<false>>, /*coroutine=*/true},
       {"coroutines, write at once", &ManyConnections<Coroutines<true>>, /*coroutine=*/true}});
}

void TcpIdle10k(const Arguments& arguments) {
  std::fprintf(stderr, "# %s %zu connections\n", arguments.name.c_str(), Connections());
  ReportBest(SharedByActive(arguments), Kinds(arguments.workers),
             {{"callbacks, write at once", &AmongIdle<Callbacks<true>>},
              {"coroutines, write at once", &AmongIdle<Coroutines<true>>, /*coroutine=*/true}});
}

}  // namespace asio_peer
