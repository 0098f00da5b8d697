"""Counts the instructions of the hot paths with callgrind, and compares them with their budgets.

Instruction counts repeat to about one in a thousand where times on a busy machine differ by half, so a test can watch them. A change that makes a hot path
dearer by more than 5 % fails until its budget, in instruction_budgets.txt, is changed with it, where a reviewer sees it.
Exit code: 0; 1 if a path is over its budget; 2 for a wrong argument, a benchmark that fails, or a build without optimisation; 3 without valgrind.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TOLERANCE = 0.05

# The benchmark, and two counts of its operation: start-up and the first use of everything are the same in both, so the difference is the operation's.
PATHS = {
    "spawn_join": (4_000, 12_000),
    "yield": (20_000, 60_000),
    "channel_roundtrip": (4_000, 12_000),
    "mutex": (20_000, 60_000),
    "timer_wheel": (4_000, 12_000),
    "cancel_parked": (4_000, 12_000),
    "race": (1_000, 3_000),
}


def fail(code, message):
    sys.stderr.write(f"instruction_budget: {message}\n")
    sys.exit(code)


def read_budgets(path):
    """{benchmark: instructions for each operation}, from lines `benchmark instructions`; # begins a comment."""
    budgets = {}
    with open(path) as lines:
        for number, line in enumerate(lines, 1):
            words = line.split("#")[0].split()
            if not words:
                continue
            if len(words) != 2 or not words[1].isdigit() or words[0] not in PATHS:
                fail(2, f"{path}:{number}: expected `BENCHMARK INSTRUCTIONS`, with a benchmark of {', '.join(PATHS)}")
            budgets[words[0]] = int(words[1])
    missing = [name for name in PATHS if name not in budgets]
    if missing:
        fail(2, f"{path}: no budget for {', '.join(missing)}")
    return budgets


def instructions(program, benchmark, count, folder):
    """What callgrind counts in one run."""
    out = os.path.join(folder, f"{benchmark}.{count}")
    command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", program,
               f"--bench={benchmark}", "--workers=1", "--rounds=1", f"--n={count}"]
    ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if ended.returncode != 0:
        fail(2, f"'{' '.join(command)}' ended with {ended.returncode}:\n{ended.stderr}")
    with open(out) as profile:
        found = re.search(r"^(?:summary|totals): (\d+)", profile.read(), re.MULTILINE)
    if not found:
        fail(2, f"callgrind wrote no total for '{' '.join(command)}'")
    return int(found.group(1))


def measure(program, benchmark, folder):
    few, many = PATHS[benchmark]
    rounds = 2  # one is thrown away, one is measured; both are counted
    return (instructions(program, benchmark, many, folder) - instructions(program, benchmark, few, folder)) / (rounds * (many - few))


def verdict(measured, budget):
    """What to say of a path, and whether it passes."""
    change = measured / budget - 1
    if change > TOLERANCE:
        return f"OVER by {100 * change:.1f} %", False
    if change < -TOLERANCE:
        return f"under by {-100 * change:.1f} %: lower its budget to {round(measured)}", True
    return "", True


def main():
    parser = argparse.ArgumentParser(prog="instruction_budget", description=__doc__.split("\n\n")[0])
    parser.add_argument("--program", default=os.path.join(HERE, "quiesce_bench"), help="the benchmarks (default: beside this file)")
    parser.add_argument("--budgets", default=os.path.join(HERE, "instruction_budgets.txt"), metavar="FILE")
    chosen = parser.parse_args()
    if shutil.which("valgrind") is None:
        fail(3, "valgrind is not installed; ./bazelw install valgrind installs it")
    budgets = read_budgets(chosen.budgets)
    failed = []
    print(f"{'instructions for each':<24} {'measured':>9} {'budget':>9}")
    with tempfile.TemporaryDirectory() as folder:
        for benchmark in PATHS:
            measured = measure(chosen.program, benchmark, folder)
            said, passes = verdict(measured, budgets[benchmark])
            print(f"{benchmark:<24} {measured:>9.0f} {budgets[benchmark]:>9}  {said}", flush=True)
            if not passes:
                failed.append(benchmark)
    if failed:
        print(f"\n{', '.join(failed)}: more than {100 * TOLERANCE:.0f} % over budget. Make the path cheaper, or, if what it buys is worth that, "
              "change its line in testing/bench/instruction_budgets.txt in the same commit and say why.")
        sys.exit(1)


if __name__ == "__main__":
    main()
