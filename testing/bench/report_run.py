"""Builds the peers, runs the benchmarks in turns, and says how far it is."""

import contextlib
import glob
import hashlib
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

from report_rows import SIDES, factor, label, settings

# Not __file__: Python follows the link to this module into the source tree, and the programs are not there.
HERE = os.path.dirname(os.path.abspath(sys.argv[0]))
TIMEOUT_S, QUICK_TIMEOUT_S = 900, 60  # of one benchmark; several times what the slowest needs
NANOSECONDS = {"ns": 1, "us": 1e3, "ms": 1e6}


class Failed(Exception):
    """Ends the report: 2, a benchmark fails; 3, a peer cannot be built."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


class Result(NamedTuple):
    """One row with one number of workers: medians over all runs, and how far the runs lie apart."""

    row: object
    workers: int
    ours: float
    peer: float
    best: str  # the side whose figure `peer` is; "" where a limit stands there
    ours_spread: float | None = None
    peer_spread: float | None = None

    @property
    def ratio(self):
        return ratio(self.ours, self.peer)

    @property
    def missed(self):
        return missed(self.ratio, self.row.reach)


def ratio(ours, peer):
    return ours / max(peer, 1e-9)


def missed(of, reach):
    return reach is not None and of > reach


def spread(values):
    """How far the runs lie from their median, in percent of it."""
    middle = statistics.median(values)
    return 0.0 if middle == 0 else 50 * (max(values) - min(values)) / middle


def converted(value, unit, wanted):
    """From the unit that a benchmark prints to the row's."""
    unit = unit.removesuffix("/op")
    if unit == wanted:
        return value
    return value * NANOSECONDS[unit] / NANOSECONDS[wanted]


def result(row, workers, figures):
    """`figures`: for each (side, name of the figure) its (value, unit) in every run."""

    def values(figure):
        return [converted(value, unit, row.unit) for value, unit in figures[(figure.side, figure.name)]]

    mine = values(row.ours)
    if not row.peers:
        return Result(row, workers, statistics.median(mine), row.limit, "", spread(mine), None)
    best = min(row.peers, key=lambda figure: statistics.median(values(figure)))
    theirs = values(best)
    return Result(row, workers, statistics.median(mine), statistics.median(theirs), best.side, spread(mine), spread(theirs))


def together(rows):
    """Parts the rows into groups that share benchmarks: ([row …], [(side, benchmark) …]), in the rows' order.

    A group's benchmarks run in turns, so that whatever the machine does meanwhile it does to both sides of a row. Rows of
    two areas are never in one group: an area is printed when its groups are through.
    """
    groups = []
    for row in rows:
        order = [(figure.side, figure.benchmark) for figure in row.figures]
        merged = ([], [])
        for group in [group for group in groups if group[0][0].area == row.area and set(group[1]) & set(order)]:
            groups.remove(group)
            merged = (merged[0] + group[0], merged[1] + group[1])
        merged = (merged[0] + [row], merged[1] + order)
        groups.append((merged[0], list(dict.fromkeys(merged[1]))))
    groups.sort(key=lambda group: rows.index(group[0][0]))
    return groups


def cache_folder():
    """A user's cache; a folder of the user's own in /tmp where there is no home."""
    chosen = os.environ.get("XDG_CACHE_HOME")
    home = os.path.expanduser("~")  # stays "~" where neither $HOME nor the user's entry says more
    if not chosen and os.path.isdir(home) and os.access(home, os.W_OK):
        chosen = os.path.join(home, ".cache")
    return os.path.join(chosen or os.path.join(tempfile.gettempdir(), f"cache-{os.getuid()}"), "quiesce")


def output_of(*command):
    """What a command prints, or "" if it fails or is not there."""
    try:
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def version(package):
    return output_of("dpkg-query", "-W", "-f", "${Version}", package) or "?"


def ingredients(side, folder):
    """A digest of what a peer is built from: its sources, and the versions of its packages."""
    digest = hashlib.sha256(repr([version(package) for package in SIDES[side].packages]).encode())
    for path in sorted(glob.glob(os.path.join(folder, "**"), recursive=True)):
        if os.path.isfile(path):
            with open(path, "rb") as file:
                content = file.read()
            digest.update(f"{os.path.relpath(path, folder)} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def build_peer(side):
    """The path of the peer's program, which its build.sh prints."""
    # Kept between reports, since cargo needs a minute for it, also where nothing has changed.
    cache = os.path.join(cache_folder(), f"{side}_peer")
    sources = os.path.join(HERE, "peers", side)
    stamp = os.path.join(cache, "built_from")
    digest = ingredients(side, sources)
    with contextlib.suppress(OSError, ValueError):
        with open(stamp, encoding="utf-8") as file:
            built_from, program = file.read().split("\n")
        if built_from == digest and os.access(program, os.X_OK):
            return program
    print(f"building the {SIDES[side].label} peer into {cache} …", file=sys.stderr, flush=True)
    try:
        built = subprocess.run([os.path.join(sources, "build.sh"), cache], stdout=subprocess.PIPE, text=True)
    except OSError as problem:
        raise Failed(3, f"the {SIDES[side].label} peer cannot be built: {problem}") from None
    program = built.stdout.strip()
    if built.returncode != 0 or not os.access(program, os.X_OK):
        raise Failed(3, f"the {SIDES[side].label} peer cannot be built, and its build.sh says why, above this line. "
                        "./bazelw install bench installs what the peers need; --peer=NAME chooses among them, see --help")
    with open(stamp, "w", encoding="utf-8") as file:
        file.write(f"{digest}\n{program}")
    return program


BUILT_BY_BAZEL = {"ours": "report_bench", "ledger_off": "ledger_off_bench", "events_off": "events_off_bench"}


def programs(sides):
    """The path of the program of each side, the peers' after building them."""
    return {side: os.path.join(HERE, BUILT_BY_BAZEL[side]) if side in BUILT_BY_BAZEL else build_peer(side) for side in sides}


def compiler():
    """Which one built our program. An unoptimised build refuses to say."""
    try:
        said = subprocess.run([os.path.join(HERE, BUILT_BY_BAZEL["ours"]), "--compiler"], capture_output=True, text=True)
    except OSError as problem:
        raise Failed(2, f"{problem}. Run the report by Bazel: ./bazelw run -c opt //testing/bench:report") from None
    if said.returncode != 0:
        raise Failed(2, said.stderr.strip())
    return said.stdout.strip()


def run(program, benchmark, workers, arguments, timeout_s=TIMEOUT_S):
    """The figures that a benchmark prints, as lines NAME<TAB>VALUE<TAB>UNIT: {name: (value, unit)}."""
    command = [program, f"--bench={benchmark}", f"--workers={workers}", *arguments]
    line = shlex.join(command)
    try:
        ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=timeout_s)
    except OSError as problem:
        raise Failed(2, f"'{line}' does not run: {problem}") from None
    except subprocess.TimeoutExpired as expired:
        said = (expired.stderr or b"").decode(errors="replace")
        raise Failed(2, f"'{line}' has not ended within {timeout_s} s. Its stderr:\n{said}") from None
    if ended.returncode != 0:
        raise Failed(2, f"'{line}' ended with {ended.returncode}. Its stderr:\n{ended.stderr}")
    try:
        fields = [printed.split("\t") for printed in ended.stdout.splitlines()]
        return {name: (float(value), unit) for name, value, unit in fields}
    except ValueError:
        raise Failed(2, f"'{line}' printed something else than NAME<TAB>VALUE<TAB>UNIT:\n{ended.stdout}") from None


class Progress:
    """How far it is, on stderr: one line that changes on a terminal, elsewhere a line now and then."""

    EVERY_S = 10

    def __init__(self, steps, stream=None, clock=time.monotonic):
        self.left, self.total, self.done = list(steps), len(steps), 0
        self.stream, self.clock = stream or sys.stderr, clock
        self.terminal = self.stream.isatty()
        self.took = {}  # each kind of step: how long it took last
        self.begun = self.printed = None

    def seconds_left(self):
        """What has run before takes as long again; the rest as long as what has run on the average."""
        if not self.took:
            return None
        average = sum(self.took.values()) / len(self.took)
        return sum(self.took.get(step, average) for step in self.left)

    def begin(self, step, what):
        now = self.clock()
        self.begun = now
        if not self.terminal and self.printed is not None and now - self.printed < self.EVERY_S:
            return
        self.printed = now
        seconds = self.seconds_left()
        left = "" if seconds is None else f", about {in_words(seconds)} left"
        line = f"{self.done + 1} of {self.total}{left}: {what}"
        if self.terminal:
            print(f"\r\033[K{line}", end="", file=self.stream, flush=True)
        else:
            print(line, file=self.stream, flush=True)

    def end(self, step):
        self.took[step] = self.clock() - self.begun
        self.left.remove(step)
        self.done += 1

    def clear(self):
        """Before something else is printed."""
        if self.terminal:
            print("\r\033[K", end="", file=self.stream, flush=True)


def in_words(seconds):
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def measure(rows, workers_counts, runs, quick, paths):
    """Yields a list of Results whenever the benchmarks of some rows have run."""
    groups = together(rows)
    progress = Progress([entry for _ in workers_counts for _ in range(runs) for _, order in groups for entry in order])
    try:
        for workers in workers_counts:
            for members, order in groups:
                figures = {}
                for _ in range(runs):
                    for side, benchmark in order:
                        who = "ours" if side == "ours" else label(SIDES[side].peer)
                        progress.begin((side, benchmark), f"{workers} worker{'s' * (workers > 1)}, {who}: {benchmark}")
                        printed = run(paths[side], benchmark, workers, settings(benchmark, quick), QUICK_TIMEOUT_S if quick else TIMEOUT_S)
                        progress.end((side, benchmark))
                        for name, (value, unit) in printed.items():
                            figures.setdefault((side, name), []).append((value * factor(benchmark, quick), unit))
                check_figures(members, figures)
                progress.clear()
                yield [result(row, workers, figures) for row in members]
    finally:
        progress.clear()


def check_figures(rows, figures):
    for row in rows:
        for figure in row.figures:
            if (figure.side, figure.name) not in figures:
                raise Failed(2, f"{figure.side}'s benchmark '{figure.benchmark}' printed no figure '{figure.name}'; "
                                f"that side printed: {', '.join(name for side, name in figures if side == figure.side)}")
            unit = figures[(figure.side, figure.name)][0][1].removesuffix("/op")
            if unit != row.unit and not {unit, row.unit} <= NANOSECONDS.keys():
                raise Failed(2, f"{figure.side}'s figure '{figure.name}' is in {unit}, the row '{row.scenario}' in {row.unit}")
