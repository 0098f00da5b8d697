"""What a thousand workers would contend for: the model behind SCALING.md.

A cache line that W workers change by atomic read-modify-writes serves one of them at a time; each transfer of the line costs `--transfer` nanoseconds. An
operation that takes `alone` nanoseconds where nobody else is, and changes the line `f` times, therefore cannot be done more often than 1 / (f * transfer) in all,
however many workers there are: up to W* = alone / (f * transfer) workers it scales, above that it does not. Prints W* for each structure that workers share.
"""

import argparse
from typing import NamedTuple


class Structure(NamedTuple):
    name: str
    operation: str
    alone: float  # nanoseconds of the operation on one worker
    changes: float  # of the shared line, for each operation


# `changes` is counted in the source; SCALING.md says where.
STRUCTURES = [
    Structure("region word: spawns into one region from every worker", "spawn", 90, 1 + 1 / 256),
    Structure("the same, a region for each worker", "spawn", 90, 0),
    Structure("region lock: one region's children, opened by every worker", "region open + close", 400, 4),
    Structure("park registry: first waits of one region's tasks", "first wait and end", 90, 0),
    Structure("task ids", "spawn", 90, 1 / 4096),
    Structure("idle set: a worker goes to sleep and is woken", "sleep + wake", 5_000, 5),
    Structure("one mutex, held 20 ns by every worker", "lock + unlock", 30, 2),
    Structure("one channel, every worker sends", "send", 40, 2),
]


def saturates_at(structure, transfer):
    """The number of workers up to which it scales; None: there is no shared line."""
    if structure.changes == 0:
        return None
    return max(1.0, structure.alone / (structure.changes * transfer))


def main():
    parser = argparse.ArgumentParser(prog="scaling_model", description=__doc__.split("\n\n")[0])
    parser.add_argument("--transfer", type=float, default=60, metavar="NS",
                        help="one transfer of a contended line: about 60 within a socket (default), 200 between sockets")
    chosen = parser.parse_args()
    if chosen.transfer <= 0:
        parser.error("--transfer takes a positive number of nanoseconds")
    print(f"{'structure':<60} {'operation':<20} {'scales to':>10} workers")
    for structure in STRUCTURES:
        most = saturates_at(structure, chosen.transfer)
        print(f"{structure.name:<60} {structure.operation:<20} {'any' if most is None else f'{most:.0f}':>10}")


if __name__ == "__main__":
    main()
