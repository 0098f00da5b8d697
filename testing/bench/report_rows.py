"""What the report compares: its rows, how far each is meant to reach, and how much of each benchmark a quick run does."""

from typing import NamedTuple


class Figure(NamedTuple):
    """One of the figures that a benchmark of one side prints."""

    side: str  # a key of SIDES
    benchmark: str
    name: str


class Row(NamedTuple):
    """Ours beside one peer; beside several, the better of them counts."""

    area: str
    scenario: str
    ours: Figure
    peers: tuple  # of Figures; () where `limit` stands in for a peer
    unit: str
    reach: float | None  # of ours / peer; None: the row is only shown
    limit: float | None = None  # in the row's unit
    why: str = ""  # why the reach is missed, where profiling has found it

    @property
    def peer(self):
        """The peer's name in JSON."""
        if not self.peers:
            return "limit"
        names = [SIDES[figure.side].peer for figure in self.peers]
        return names[0] if len(names) == 1 else "best of " + ", ".join(names)

    @property
    def figures(self):
        return (self.ours, *self.peers)


class Side(NamedTuple):
    """A program of the report."""

    peer: str  # what JSON and --peer call it; ours in another form is "itself"
    label: str
    packages: tuple = ()  # the Debian packages whose versions say what it is
    built: str = ""  # how it is optimised, where that is ours to choose


SIDES = {
    "ours": Side("itself", "itself", built="-O2, thin LTO"),
    "ledger_off": Side("itself", "itself"),
    "events_off": Side("itself", "itself"),
    "tokio": Side("tokio", "Tokio", ("librust-tokio-dev", "rustc"), "-O3, fat LTO"),
    "asio": Side("asio", "Asio", ("libasio-dev", "clang-19"), "-O3, all of it headers"),
    "tbb": Side("tbb", "oneTBB", ("libtbb-dev", "clang-19"), "-O3, with Debian's libtbb"),
    "go": Side("go", "Go", ("golang-1.19-go",)),
}
PEERS = ("tokio", "asio", "tbb", "go")  # what has a build.sh of its own
CHOICES = (*PEERS, "itself")


def label(peer):
    """A peer's name for people, from its name in JSON."""
    labels = {side.peer: side.label for side in SIDES.values()}
    prefix = "best of "
    if peer.startswith(prefix):
        return prefix + ", ".join(label(name) for name in peer[len(prefix):].split(", "))
    return labels.get(peer, peer)


def ours(benchmark, figure=None):
    return Figure("ours", benchmark, figure or benchmark)


# Where the benchmarks of the two sides have one name. Where nothing was promised the reach is 1: not slower.
def same(area, scenario, benchmark, unit="ns", figure=None, **reach):
    figure = figure or benchmark
    return [Row(area, scenario, ours(benchmark, figure), (Figure(side, benchmark, figure),), unit, reach[side]) for side in reach]


def against(area, scenario, benchmark, side, peer_benchmark, reach, unit="ns", figure=None, peer_figure=None):
    peer = Figure(side, peer_benchmark, peer_figure or peer_benchmark)
    return [Row(area, scenario, ours(benchmark, figure), (peer,), unit, reach)]


# Tokio and Asio, the better of the two.
def network(scenario, benchmark, unit, figure=None, reach=0.95):
    figure = figure or benchmark
    peers = tuple(Figure(side, benchmark, figure) for side in ("tokio", "asio"))
    return [Row("TCP on loopback", scenario, ours(benchmark, figure), peers, unit, reach)]


def itself(scenario, benchmark, figure, other, other_figure, reach, side="ours", area="Against itself", unit="ns"):
    return against(area, scenario, benchmark, side, other, reach, unit, figure, other_figure)


# What one more costs where there are many / where there are few.
def scale(scenario, benchmark):
    return itself(scenario, benchmark, f"{benchmark}_large", benchmark, f"{benchmark}_small", 1.4)


def recorder(scenario, part):
    return itself(scenario, "recorder_on", f"recorder_on_{part}", "recorder_off", f"recorder_off_{part}", 1.5)


# Against a program that does not even ask whether events are wanted.
def without_recorder(scenario, part):
    return itself(scenario, "recorder_off", f"recorder_off_{part}", "recorder_compiled_out", f"recorder_compiled_out_{part}", 1.01, "events_off")


# Readiness from io_uring / from epoll.
def io_uring(scenario, benchmark, unit):
    return itself(f"io_uring / epoll, {scenario}", f"{benchmark}_io_uring", f"{benchmark}_io_uring", benchmark, benchmark, None, unit=unit)


def all_rows():
    tasks, cancel, channels, locks = "Tasks", "Cancel", "Channels", "Locks and signals"
    timers, memory = "Timers", "Memory and idling"
    return [
        *same(tasks, "spawn + join, 1 M tasks", "spawn_join", tokio=0.25, tbb=0.8),
        *same(tasks, "skynet, 1 M leaves", "skynet", tokio=0.06, tbb=0.5),
        *same(tasks, "yield, 100 tasks", "yield", tokio=0.10, go=0.2),
        *same(tasks, "race of two, the loser stopped and ended", "race", tokio=0.40),
        *itself("failing chain of 10 awaits / the same, thrown", "failing_chain", "failing_chain",
                "failing_chain", "failing_chain_thrown", 0.05, area=tasks),
        *against(cancel, "cancel 1 M parked, to closed / abort + join", "cancel_parked", "tokio", "cancel_parked_abort", 0.20),
        *against(cancel, "cancel 1 M parked, to closed / cooperative", "cancel_parked", "tokio", "cancel_parked_coop", 1.0),
        *against(cancel, "cancel a region tree, 1 M parked / abort + join", "cancel_parked_tree", "tokio", "cancel_parked_abort", 0.20),
        *against(cancel, "cancel a region tree, 1 M parked / context tree", "cancel_parked_tree", "go", "cancel_context_tree", 0.05),
        *same(cancel, "cancel 1 M in a sleep, to closed / abort + join", "cancel_parked_sleep", tokio=1.0),
        *same(cancel, "first step of a cancelled task, 1,000 ready, p99", "first_drain_step", "us", "first_drain_step_p99", tokio=0.10),
        *against(cancel, "the same / Tokio as it comes, untuned, p99", "first_drain_step", "tokio", "first_drain_step", 0.10, "us",
                 "first_drain_step_p99", "first_drain_step_default_p99"),
        *same(channels, "bounded channel of 1, round trip", "channel_roundtrip", tokio=0.35, go=0.35),
        *same(channels, "mpsc, 4 producers, capacity 64, per message", "mpsc_4p", tokio=0.40, go=0.40),
        *same(channels, "try_send + try_receive", "try_send", tokio=1.0),
        *same(channels, "reserve, send, receive", "reserve_send", tokio=1.0),
        *same(channels, "oneshot, alone", "oneshot", tokio=0.40),
        *same(channels, "oneshot, woken", "oneshot_wake", tokio=0.40),
        *against(channels, "a session's call / request with a oneshot in it", "session", "tokio", "oneshot_wake", 1.0),
        *same(channels, "broadcast to 8, per message", "broadcast_8", tokio=0.40),
        *same(channels, "watch, round trip", "watch", tokio=0.40),
        *same(locks, "mutex, alone", "mutex", tokio=0.35, go=1.0),
        *same(locks, "mutex, two tasks", "mutex_contended", tokio=0.35, go=1.0),
        *same(locks, "mutex, two tasks, held over a yield", "mutex_contended_yield", tokio=0.35),
        *same(locks, "semaphore, alone", "semaphore", tokio=0.40),
        *same(locks, "semaphore of 2, four tasks, held over a yield", "semaphore_contended", tokio=0.40),
        *same(locks, "rwlock, 90 % reads", "rwlock", tokio=0.40),
        *same(locks, "notify, round trip", "notify", tokio=0.40),
        *against(timers, "arm + disarm, the wheel alone / a timer dropped", "timer_wheel", "tokio", "timer", 0.05),
        *against(timers, "arm + disarm, the wheel alone / a timer dropped", "timer_wheel", "asio", "timer", 0.05),
        *against(timers, "a sleep begun and given up, as users write it", "sleep_given_up", "tokio", "timer", 1.0),
        *same(timers, "1 M live timers, arm + cancel", "timers_live", tokio=0.05, asio=0.05),
        *same(timers, "10,000 timers in 1 s, lateness, p99", "timer_lateness", "us", "timer_lateness_p99", tokio=1.0, asio=1.0),
        *network("64 bytes there and back, mean", "tcp_roundtrip", "us", reach=1.0),
        *network("64 bytes there and back, p50", "tcp_roundtrip", "us", "tcp_roundtrip_p50"),
        *network("64 bytes there and back, p99", "tcp_roundtrip", "us", "tcp_roundtrip_p99"),
        *network("64 connections, per round trip", "tcp_roundtrip_64c", "ns"),
        *network("10,000 connections, 64 of them busy", "tcp_idle_10k", "ns"),
        *against(memory, "1 M parked tasks, resident set per task", "parked_bytes", "tokio", "parked_bytes_notify", 1.4, "bytes",
                 "parked_bytes_rss", "parked_bytes_notify_rss"),
        *against(memory, "1 M parked tasks, heap per task", "parked_bytes", "tokio", "parked_bytes_notify", 1.4, "bytes",
                 "parked_bytes_usable", "parked_bytes_notify_usable"),
        *same(memory, "tasks parked in a sleep, heap per task", "parked_bytes_sleep", "bytes", "parked_bytes_sleep_usable", tokio=1.0),
        Row(memory, "processor time of an idle process, in 10 s", ours("idle_cpu"), (), "ms", 1.0, limit=1.0),
        Row(memory, "processor time of an idle process, in 10 s", ours("idle_cpu"), (Figure("tokio", "idle_cpu", "idle_cpu"),), "ms", None),
        *scale("each of 1 M tasks / of 1,000", "scale_tasks"),
        *scale("each of 10,000 sibling regions / of 1", "scale_regions"),
        *scale("each of 1,000 nested regions / of 1", "scale_depth"),
        *itself("permit ledger on / compiled out", "reserve_send", "reserve_send",
                "reserve_send_ledger_off", "reserve_send_ledger_off", 1.03, "ledger_off"),
        *itself("reserve, send, receive / try_send + try_receive", "reserve_send", "reserve_send", "try_send", "try_send", None),
        *recorder("event recorder on / off, spawn + join", "spawn_join"),
        *recorder("event recorder on / off, channel round trip", "channel_roundtrip"),
        *without_recorder("event recorder off / compiled out, spawn + join", "spawn_join"),
        *without_recorder("event recorder off / compiled out, round trip", "channel_roundtrip"),
        *without_recorder("event recorder off / compiled out, reserve + send", "reserve_send"),
        *io_uring("64 bytes there and back", "tcp_roundtrip", "us"),
        *io_uring("64 connections", "tcp_roundtrip_64c", "ns"),
        *io_uring("10,000 connections", "tcp_idle_10k", "ns"),
    ]


# Why a benchmark of ours misses its reaches, as far as profiling has said. Instructions are callgrind's, on one worker, and change with the code.
WHY = {
    "spawn_join": "about 1,030 instructions for each task: 365 to admit it, fill its record, make its frame and post it; 350 to run and end it "
                  "(outcome, region, memory); the rest to join it.",
    "skynet": "1,190 instructions for each leaf, of which about 300 are its tenth of a region (open, body, close); oneTBB's task has neither a "
              "frame, nor an outcome, nor a way to be cancelled.",
    "yield": "258 instructions: 68 in the coroutine, which makes its wait anew each time, 79 to post it, 37 in the worker's loop, 64 in the step "
             "that resumes it.",
    "race": "4,400 instructions: two spawns and ends, a region opened (330) and closed (110), a cancel that says who, when and why (350).",
    "cancel_parked": "about 2,050 instructions for each task from spawn to end. What a cancel adds to an end: a step that completes the wait (107), a "
                     "reason for each task (99 to find and copy, 80 to destroy), a failure that the task keeps (88) and the region joins (71), the cancel "
                     "lane (84).",
    "channel_roundtrip": "1,540 instructions and twelve atomic read-modify-writes: for each hop the channel's lock three times (send, queue, "
                         "take) and the task's word three times (park, grant, go on).",
    "notify": "1,120 instructions: two parks and wakes; 120 in each coroutine, 130 to park, 130 to wake, 130 to complete the wait, 110 in the step "
              "and the loop.",
    "mutex": "119 instructions, 31 of them to unlock, and two atomic read-modify-writes.",
    "semaphore": "146 instructions, all in the caller, and two atomic read-modify-writes.",
    "rwlock": "111 instructions and two atomic read-modify-writes.",
    "oneshot": "224 instructions: 54 for the memory of a channel, 116 in the caller, which makes a wait that it does not need.",
    "timer_wheel": "305 instructions: the wheel itself takes 92, two virtual calls and two locks 111; the clock and the arithmetic with "
                   "absl::Duration, 100, are the benchmark's, as they are the peers'.",
    "parked_bytes": "352 bytes: the record 112, of which 24 are where it is registered for a cancel; the rest is the frame, which holds the wait (72) and "
                    "two Cx (24 each).",
    "scale_regions": "the same 4,630 instructions for either, and no list is walked: it is the cache. A sibling is about 2 kB, so 10,000 are 20 MB, and "
                     "each step finds 36 lines of 64 bytes outside of a second-level cache of 512 kB: at least 15 in what it closes, at least 10 in "
                     "memory that it uses again.",
    "recorder_on": "about 125 to 150 instructions for each event, of which ten are in a round trip: 103 to write its 56 bytes, with two atomic "
                   "read-modify-writes (2 ns each), the rest in waits that take their slow path. To read the processor's counter, eight times in a "
                   "round trip, took 10 ns each where this was profiled: more than the reach leaves.",
    "recorder_off": "4 % of the instructions of spawn and join, 7 % of a round trip's, none of reserve and send's: each event asks one byte, and a wait "
                    "that parks passes eight.",
}


ROWS = [row._replace(why=WHY.get(row.ours.benchmark, "")) for row in all_rows()]

# The window in which an idle process is watched.
IDLE_S, IDLE_QUICK_S = 10, 2

# What a benchmark is asked for beyond its own default.
FULL = {
    "parked_bytes": ("--n=1000000",),
    "parked_bytes_notify": ("--n=1000000",),
    "idle_cpu": (f"--seconds={IDLE_S}",),
}

# In a quick run. Sizes such that a round of the slowest side, with all its idioms, takes a fraction of a second.
QUICK_N = {
    "spawn_join": 100_000,
    "skynet": 100_000,
    "yield": 100_000,
    "race": 50_000,
    "failing_chain": 20_000,
    "cancel_parked": 100_000,
    "cancel_parked_abort": 100_000,
    "cancel_parked_coop": 100_000,
    "cancel_parked_sleep": 50_000,
    "cancel_parked_tree": 100_000,
    "cancel_context_tree": 100_000,
    "first_drain_step": 20,
    "channel_roundtrip": 50_000,
    "mpsc_4p": 200_000,
    "try_send": 500_000,
    "reserve_send": 500_000,
    "reserve_send_ledger_off": 500_000,
    "oneshot": 100_000,
    "oneshot_wake": 50_000,
    "session": 50_000,
    "broadcast_8": 50_000,
    "watch": 50_000,
    "mutex": 500_000,
    "mutex_contended": 200_000,
    "mutex_contended_yield": 50_000,
    "semaphore": 500_000,
    "semaphore_contended": 50_000,
    "rwlock": 500_000,
    "notify": 50_000,
    "timer": 50_000,
    "timer_wheel": 100_000,
    "sleep_given_up": 10_000,
    "timers_live": 100_000,
    "timer_lateness": 2_000,  # 0.2 s
    "tcp_roundtrip": 5_000,
    "tcp_roundtrip_64c": 6_400,
    "tcp_idle_10k": 6_400,
    "tcp_roundtrip_io_uring": 5_000,
    "tcp_roundtrip_64c_io_uring": 6_400,
    "tcp_idle_10k_io_uring": 6_400,
    "parked_bytes": 100_000,
    "parked_bytes_notify": 100_000,
    "parked_bytes_sleep": 100_000,
    "scale_tasks": 1_000_000,  # its own: the two sizes are the point
    "scale_regions": 20_000,
    "scale_depth": 20_000,
    "recorder_off": 50_000,
    "recorder_on": 50_000,
    "recorder_compiled_out": 50_000,
}


def settings(benchmark, quick):
    """The arguments of a benchmark, beyond its name and the number of workers."""
    if not quick:
        return ("--rounds=3", *FULL.get(benchmark, ()))
    if benchmark == "idle_cpu":
        return ("--rounds=1", f"--seconds={IDLE_QUICK_S}")
    return ("--rounds=1", f"--n={QUICK_N[benchmark]}")


def factor(benchmark, quick):
    """What its figures are multiplied by: a short look at an idle process stands for a long one."""
    return IDLE_S / IDLE_QUICK_S if quick and benchmark == "idle_cpu" else 1
