"""What the report says: its heading, its table, and the same as JSON."""

import json
import os
import platform
import tempfile
import time

from report_rows import PEERS, SIDES, label
from report_run import missed, output_of, version

KEYS = ("scenario", "peer", "workers", "ours", "peer_value", "unit", "ratio", "reach")


def commit():
    workspace = os.environ.get("BUILD_WORKSPACE_DIRECTORY", ".")
    return output_of("git", "-C", workspace, "describe", "--always", "--tags", "--dirty= + changes") or "?"


def machine():
    with open("/proc/cpuinfo") as cpuinfo:
        models = [line.split(":", 1)[1].strip() for line in cpuinfo if line.startswith("model name")]
    return (f"{os.cpu_count()} processors ({models[0] if models else platform.machine()}), {platform.system()} {platform.release()}, "
            f"load {os.getloadavg()[0]:.1f} before it began")


def heading(sides, compiler):
    """What was measured, where and when: a list of lines."""
    versions = {side: ", ".join([*(f"{package} {version(package)}" for package in SIDES[side].packages), *filter(None, [SIDES[side].built])])
                for side in PEERS if side in sides}
    return [
        f"Quiesce {commit()}, built by {compiler}, {SIDES['ours'].built}, {time.strftime('%Y-%m-%d', time.gmtime())}",
        machine(),
        *(f"{SIDES[side].label}: {packages}" for side, packages in versions.items()),
    ]


def as_json(results):
    """One object for each result. A list, so that reports of several runs can be put together."""
    return [
        dict(zip(KEYS, (one.row.scenario, one.row.peer, one.workers, rounded(one.ours), rounded(one.peer), one.row.unit,
                        rounded(one.ratio), one.row.reach)))
        for one in results
    ]


def rounded(value):
    """Six digits: more are noise."""
    return float(f"{value:.6g}")


def write(path, text):
    """All of it or nothing, also if the report is stopped at this moment."""
    with tempfile.NamedTemporaryFile("w", dir=os.path.dirname(path) or ".", delete=False, encoding="utf-8") as new:
        new.write(text)
    os.chmod(new.name, 0o644)  # a temporary file is its owner's alone
    os.replace(new.name, path)


def write_json(path, results):
    write(path, json.dumps(as_json(results), indent=1, ensure_ascii=False) + "\n")


def read_json(path):
    """The objects of a file that write_json wrote; ValueError says what is wrong with it."""
    with open(path, encoding="utf-8") as file:
        objects = json.load(file)
    if not isinstance(objects, list) or not objects:
        raise ValueError("not a list of rows")
    numbers = {"ours": float, "peer_value": float, "ratio": float, "workers": int}
    for number, one in enumerate(objects, 1):
        if not isinstance(one, dict) or not set(KEYS) <= one.keys():
            raise ValueError(f"row {number} is not an object with {', '.join(KEYS)}")
        for key, kind in numbers.items():
            if not isinstance(one[key], (int, kind)) or one[key] < 0:
                raise ValueError(f"row {number}: {key} is {one[key]!r}, not a number that can be measured")
        if one["reach"] is not None and not (isinstance(one["reach"], (int, float)) and one["reach"] > 0):
            raise ValueError(f"row {number}: reach is {one['reach']!r}")
        if not all(isinstance(one[key], str) for key in ("scenario", "peer", "unit")):
            raise ValueError(f"row {number}: scenario, peer and unit are texts")
    return objects


def number(value):
    """Three digits that count."""
    return f"{value:.0f}" if value >= 1000 else f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def ratio_text(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def table_heading(workers):
    count = f"{workers} worker" + "s" * (workers > 1)
    return f"{count:<50} {'beside':<20} {'ours':>14} {'peer':>14} {'ratio':>6} {'reach':>5}  unit"


def table_line(one, spreads=(None, None), best="", why=""):
    """One row, from its JSON object."""

    def side(value, spread):
        return f"{number(value):>8} " + (f"±{spread:>2.0f} %" if spread is not None else " " * 5)

    reach = "" if one["reach"] is None else f"{one['reach']:.2f}"
    line = (f"{one['scenario']:<50} {label(one['peer']):<20} {side(one['ours'], spreads[0])} {side(one['peer_value'], spreads[1])} "
            f"{ratio_text(one['ratio']):>6} {reach:>5}  {one['unit']}")
    if best and one["peer"].startswith("best of "):
        line += f" ({label(best)})"
    if missed(one["ratio"], one["reach"]):
        line += f"   missed: reach {reach}"
        if why:
            line += f"\n    {why}"
    return line


def summary(objects):
    over = sum(missed(one["ratio"], one["reach"]) for one in objects)
    aimed = sum(one["reach"] is not None for one in objects)
    return f"missed: the reach of {over} of {aimed} rows" if over else f"no row misses its reach ({aimed} have one)"
