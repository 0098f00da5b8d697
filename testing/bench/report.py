"""Ours beside Tokio, in alternating runs in the same minute with the same number of workers.

Prints the median of each side over all runs, its spread and the ratio ours / peer. Lower is better everywhere. The peer is Tokio, or, in the rows that say
so, ours in another form: with permits that nobody counts, or without a permit.
Exit code: 0; 1 if a row is over its limit (1.00 beside Tokio); 2 for a wrong argument or a benchmark that fails; 3 if the peer cannot be built.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple


class Row(NamedTuple):
    name: str
    ours: str  # our benchmark …
    our_figure: str  # … and which of the figures that it prints
    peer: str
    peer_figure: str
    unit: str
    side: str = "tokio"  # whose the peer's benchmark is
    limit: float | None = 1.0  # of the ratio; None: it is only shown


def same(name, benchmark, unit):
    return Row(name, benchmark, benchmark, benchmark, benchmark, unit)


ROWS = [
    same("spawn + join, 1 M tasks", "spawn_join", "ns"),
    same("skynet, 1 M leaves", "skynet", "ns"),
    same("yield, 100 tasks", "yield", "ns"),
    same("bounded channel of 1, round trip", "channel_roundtrip", "ns"),
    same("mpsc, 4 producers, capacity 64, per message", "mpsc_4p", "ns"),
    same("try_send + try_receive", "try_send", "ns"),
    same("reserve, send, receive", "reserve_send", "ns"),
    same("oneshot, alone", "oneshot", "ns"),
    same("oneshot, woken", "oneshot_wake", "ns"),
    Row("a session's call / request with a oneshot in it", "session", "session", "oneshot_wake", "oneshot_wake", "ns"),
    same("broadcast to 8, per message", "broadcast_8", "ns"),
    same("watch, round trip", "watch", "ns"),
    same("notify, round trip", "notify", "ns"),
    same("mutex, alone", "mutex", "ns"),
    same("mutex, two tasks", "mutex_contended", "ns"),
    same("mutex, two tasks, held over a yield", "mutex_contended_yield", "ns"),
    same("semaphore, alone", "semaphore", "ns"),
    same("semaphore of 2, four tasks, held over a yield", "semaphore_contended", "ns"),
    same("rwlock, 90 % reads", "rwlock", "ns"),
    same("race of two, the loser stopped and ended", "race", "ns"),
    Row("reserve, send, receive / without the ledger", "reserve_send", "reserve_send", "reserve_send_ledger_off",
        "reserve_send_ledger_off", "ns", "ledger_off", 1.05),
    Row("reserve, send, receive / try_send + try_receive", "reserve_send", "reserve_send", "try_send", "try_send", "ns", "ours", None),
    Row("cancel 1 M parked, to closed / abort + join",
        "cancel_parked", "cancel_parked", "cancel_parked_abort", "cancel_parked_abort", "ns"),
    Row("cancel 1 M parked, to closed / cooperative",
        "cancel_parked", "cancel_parked", "cancel_parked_coop", "cancel_parked_coop", "ns"),
    same("cancel 1 M in a sleep, to closed / abort + join", "cancel_parked_sleep", "ns"),
    Row("timer wheel alone / a Sleep made, polled and dropped", "timer_wheel", "timer_wheel", "timer", "timer", "ns"),
    Row("a sleep begun and given up, as users write it", "sleep_given_up", "sleep_given_up", "timer", "timer", "ns"),
    same("TCP round trip, 64 bytes", "tcp_roundtrip", "us"),
    same("TCP, 64 connections, per round trip", "tcp_roundtrip_64c", "ns"),
    Row("bytes per task parked in a sleep",
        "parked_bytes_sleep", "parked_bytes_sleep_usable", "parked_bytes_sleep", "parked_bytes_sleep_usable", "bytes"),
    Row("bytes per task parked without a timer",
        "parked_bytes", "parked_bytes_usable", "parked_bytes_notify", "parked_bytes_notify_usable", "bytes"),
    same("CPU of an idle process, in 2 s", "idle_cpu", "us"),
]

HERE = os.path.dirname(os.path.abspath(__file__))


def fail(code, message):
    sys.exit(sys.stderr.write(f"report: {message}\n") and code)


def positive(text):
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def arguments():
    parser = argparse.ArgumentParser(prog="report", description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="one run of each, with fewer rounds: under two minutes, and noisy")
    parser.add_argument("--runs", type=positive, default=5, metavar="R", help="alternating runs of both sides (default 5)")
    parser.add_argument("--workers", type=positive, action="append", metavar="N", help="only with N workers (default: 1, then 2)")
    parser.add_argument("--only", default="", metavar="TEXT", help="only the rows that have TEXT in their name")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.runs = 1
    chosen.rounds = 1 if chosen.quick else 3
    chosen.workers = chosen.workers or [1, 2]
    chosen.rows = [row for row in ROWS if chosen.only in row.name]
    if not chosen.rows:
        parser.error(f"no row has '{chosen.only}' in its name; there are: " + "; ".join(row.name for row in ROWS))
    return chosen


def cache_folder():
    """A user's cache; a folder of the user's own in /tmp where there is no home."""
    chosen = os.environ.get("XDG_CACHE_HOME")
    home = os.path.expanduser("~")  # stays "~" where neither $HOME nor the user's entry says more
    if not chosen and os.path.isdir(home) and os.access(home, os.W_OK):
        chosen = os.path.join(home, ".cache")
    return os.path.join(chosen or os.path.join(tempfile.gettempdir(), f"cache-{os.getuid()}"), "quiesce")


def build_peer():
    # Kept between reports, since cargo needs a minute for it.
    cache = os.path.join(cache_folder(), "tokio_peer")
    print(f"building the Tokio peer into {cache} …", file=sys.stderr)
    built = subprocess.run([os.path.join(HERE, "peers/tokio/build.sh"), cache], stdout=subprocess.PIPE, text=True)
    if built.returncode != 0:
        fail(3, "the Tokio peer cannot be built; ./bazelw install bench installs what it needs")
    return built.stdout.strip()


def run(program, benchmark, workers, rounds):
    """The figures that a benchmark prints: lines NAME<TAB>VALUE<TAB>UNIT."""
    command = [program, f"--bench={benchmark}", f"--workers={workers}", f"--rounds={rounds}"]
    ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if ended.returncode != 0:
        fail(2, f"'{' '.join(command)}' ended with {ended.returncode}:\n{ended.stderr}")
    return {name: float(value) for name, value, _ in (line.split("\t") for line in ended.stdout.splitlines())}


def heading():
    with open("/proc/cpuinfo") as cpuinfo:
        models = [line.split(":", 1)[1].strip() for line in cpuinfo if line.startswith("model name")]
    tokio = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", "librust-tokio-dev"], capture_output=True, text=True)
    return (f"Quiesce beside Tokio {tokio.stdout or '?'}, {time.strftime('%Y-%m-%d', time.gmtime())}, "
            f"{os.cpu_count()} processors ({models[0] if models else platform.machine()}), {platform.system()} {platform.release()}")


class Progress:
    """One line on a terminal that says how far it is."""

    def __init__(self, total):
        self.total, self.done, self.shown = total, 0, sys.stderr.isatty()

    def step(self, what):
        self.done += 1
        if self.shown:
            print(f"\r\033[K{self.done} of {self.total}: {what}", end="", file=sys.stderr, flush=True)

    def clear(self):
        if self.shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def spread(values):
    """How far the runs lie apart, in percent of their median."""
    middle = statistics.median(values)
    return 0 if middle == 0 else 100 * (max(values) - min(values)) / middle


def main():
    options = arguments()
    ours = os.path.join(HERE, "quiesce_bench")
    run(ours, "timer_wheel", 1, 1)  # an unoptimised build is refused before the minute that cargo takes
    programs = {"ours": ours, "ledger_off": os.path.join(HERE, "ledger_off_bench"), "tokio": build_peer()}
    # A benchmark may serve several rows. Ours and the peer's alternate.
    order = []
    for row in options.rows:
        for entry in (("ours", row.ours), (row.side, row.peer)):
            if entry not in order:
                order.append(entry)
    print(heading())
    print(f"Medians of {options.runs} alternating runs (and their spread). Lower is better; ratio = ours / Tokio, or what the row names after the stroke.")
    progress = Progress(len(options.workers) * options.runs * len(order))
    slower = 0
    for workers in options.workers:
        figures = {}
        for _ in range(options.runs):
            for side, benchmark in order:
                progress.step(f"{workers} workers, {side}: {benchmark}")
                for name, value in run(programs[side], benchmark, workers, options.rounds).items():
                    figures.setdefault((side, name), []).append(value)
        progress.clear()
        print(f"\n{f'{workers} worker' + 's' * (workers > 1):<50} {'ours':>17} {'peer':>17} {'ratio':>6}  unit")
        for row in options.rows:
            ours, peer = figures[("ours", row.our_figure)], figures[(row.side, row.peer_figure)]
            ratio = statistics.median(ours) / max(statistics.median(peer), 1e-9)
            over = row.limit is not None and ratio > row.limit
            slower += over
            sides = " ".join(f"{statistics.median(side):>10.1f} ±{spread(side) / 2:>3.0f} %" for side in (ours, peer))
            print(f"{row.name:<50} {sides} {ratio:>6.2f}  {row.unit}{f'   over {row.limit:.2f}' if over else ''}", flush=True)
    print(f"\n{slower} of the rows are over their limit" if slower else "\nno row is over its limit")
    return 1 if slower else 0


if __name__ == "__main__":
    sys.exit(main())
