"""Ours beside Tokio, Asio, oneTBB and Go, in alternating runs in the same minute with the same number of workers.

Prints the median of each side over all runs, its spread, and the ratio ours / peer. Lower is better everywhere. In the rows beside "itself" the
peer is ours in another form, named after the stroke; beside "limit" it is a fixed value. README.md says what each row measures.
"""

import argparse
import os
import signal
import sys

import report_charts
import report_print
import report_rows
import report_run

EXIT_CODES = """\
exit code:
  0  every row is within its reach
  1  a row misses its reach
  2  a wrong argument, or a benchmark that fails
  3  a peer cannot be built
"""

EXAMPLES = """\
examples:
  ./bazelw run -c opt //testing/bench:report -- --quick
  ./bazelw run -c opt //testing/bench:report -- --only=mutex --peer=tokio --workers=2
  ./bazelw run -c opt //testing/bench:report -- --json=report.json --charts=charts
  ./bazelw run -c opt //testing/bench:report -- --from-json=report.json --charts=charts
"""


def positive(text):
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def path(text):
    """Relative to where the user is, not to where Bazel runs us."""
    if not text:
        raise ValueError
    return os.path.join(os.environ.get("BUILD_WORKING_DIRECTORY", ""), os.path.expanduser(text))


def peers(text):
    names = text.split(",")
    if not set(names) <= set(report_rows.CHOICES):
        raise argparse.ArgumentTypeError(f"'{text}': there are {', '.join(report_rows.CHOICES)}")
    return names


def chosen_rows(rows, only, chosen):
    """The rows with `only` in their scenario, beside the chosen peers. The better of two is the one that is left."""
    left = []
    for row in rows:
        if only not in row.scenario:
            continue
        if not row.peers:
            left += [row] if "itself" in chosen else []
            continue
        beside = tuple(figure for figure in row.peers if report_rows.SIDES[figure.side].peer in chosen)
        if beside:
            left.append(row._replace(peers=beside))
    return left


def arguments(argv=None):
    parser = argparse.ArgumentParser(prog="report", description=__doc__, epilog=EXIT_CODES + "\n" + EXAMPLES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_argument_group("what to run")
    what.add_argument("--quick", action="store_true", help="one run of each, with one round of fewer things: under two minutes, and noisy")
    what.add_argument("--runs", type=positive, metavar="R", help="alternating runs of both sides (default: 5; quick: 1)")
    what.add_argument("--workers", type=positive, action="append", metavar="N", help="only with N workers; again for more (default: 1, then 2)")
    what.add_argument("--only", default="", metavar="TEXT", help="only the rows with TEXT in their name")
    what.add_argument("--peer", type=peers, action="append", metavar="NAME",
                      help=f"only the rows beside NAME: {', '.join(report_rows.CHOICES)}; again, or with commas, for more (default: all)")
    output = parser.add_argument_group("what to do with it (paths are relative to where you are)")
    output.add_argument("--json", type=path, metavar="FILE", help="write the rows there, after each group of benchmarks what there is by then")
    output.add_argument("--charts", type=path, metavar="DIR", help="draw the ratios there: an SVG for each number of workers")
    output.add_argument("--from-json", type=path, metavar="FILE", help="run nothing: print, and draw, what --json wrote")
    chosen = parser.parse_args(argv)

    if chosen.json and not os.path.isdir(os.path.dirname(chosen.json) or "."):
        parser.error(f"--json: there is no folder for {chosen.json}")
    if chosen.from_json:
        for flag in ("quick", "runs", "workers", "only", "peer", "json"):
            if getattr(chosen, flag):
                parser.error(f"--from-json runs nothing, so --{flag} has no meaning beside it")
    if chosen.charts:
        try:
            os.makedirs(chosen.charts, exist_ok=True)
        except OSError as problem:
            parser.error(f"--charts: {problem}")

    chosen.runs = chosen.runs or (1 if chosen.quick else 5)
    chosen.workers = list(dict.fromkeys(chosen.workers or [1, 2]))
    names = {name for group in chosen.peer for name in group} if chosen.peer else set(report_rows.CHOICES)
    chosen.rows = chosen_rows(report_rows.ROWS, chosen.only, names)
    if not chosen.rows:
        scenarios = dict.fromkeys(row.scenario for row in chosen_rows(report_rows.ROWS, "", names))
        parser.error(f"no row beside {', '.join(sorted(names))} has '{chosen.only}' in its name; there are: " + "; ".join(scenarios))
    return chosen


def run(options):
    """Measures and prints; returns the JSON objects of the results, and the heading."""
    sides = dict.fromkeys(figure.side for row in options.rows for figure in row.figures)
    built_by = report_run.compiler()  # an unoptimised build is refused before the minute that cargo takes
    paths = report_run.programs(sides)
    caption = report_print.heading(sides, built_by)
    print("\n".join(caption))
    runs = f"Medians of {options.runs} alternating runs, and their spread" if options.runs > 1 else "One run of each"
    rounds = "one round of fewer things: a quick look" if options.quick else "the least of three rounds"
    print(f"{runs}; {rounds}. Lower is better. Ratio = ours / peer, or what the row names after the stroke.")
    results, workers, area = [], None, None
    try:
        for group in report_run.measure(options.rows, options.workers, options.runs, options.quick, paths):
            for one in group:
                if one.workers != workers:
                    print(f"\n{report_print.table_heading(one.workers)}")
                    workers, area = one.workers, None
                if one.row.area != area:
                    area = one.row.area
                    print(area)
                results.append(one)
                spreads = (one.ours_spread, one.peer_spread) if options.runs > 1 else (None, None)
                print("  " + report_print.table_line(report_print.as_json([one])[0], spreads, one.best, one.row.why), flush=True)
            if options.json:
                report_print.write_json(options.json, results)
    except report_run.Failed as failure:
        if options.json and results:
            count = f"{len(results)} rows were" if len(results) > 1 else "1 row was"
            raise report_run.Failed(failure.code, f"{failure}\n{count} measured before: {options.json}") from None
        raise
    return report_print.as_json(results), caption


def read(options):
    try:
        objects = report_print.read_json(options.from_json)
    except (OSError, ValueError) as problem:
        raise report_run.Failed(2, f"--from-json={options.from_json}: {problem}") from None
    why = {(row.scenario, row.peer): row.why for row in report_rows.ROWS}
    for workers in sorted({one["workers"] for one in objects}):
        print(report_print.table_heading(workers))
        for one in objects:
            if one["workers"] == workers:
                print("  " + report_print.table_line(one, why=why.get((one["scenario"], one["peer"]), "")))
        print()
    return objects, []


def main():
    options = arguments()
    try:
        objects, caption = read(options) if options.from_json else run(options)
    except report_run.Failed as failure:
        print(f"report: {failure}", file=sys.stderr)
        return failure.code
    except KeyboardInterrupt:
        print("report: interrupted", file=sys.stderr)
        return 130
    print(f"\n{report_print.summary(objects)}")
    if options.charts:
        for file in report_charts.write_all(options.charts, objects, caption):
            print(f"drawn: {file}")
    return 1 if any(report_run.missed(one["ratio"], one["reach"]) for one in objects) else 0


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `report | head` is no failure
    sys.exit(main())
