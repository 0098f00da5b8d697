"""Draws the ratios as SVG: for each number of workers one chart of horizontal bars on a log scale, in groups by area.

A bar begins at 1.0, where both sides are as fast, and grows to the left the faster ours is: by a length that doubles whenever the ratio is squared. A
dark mark is the row's reach. Each chart has a background of its own, light or dark as its reader's system is, so that it is readable on any page.
"""

import math
import os
from xml.sax.saxutils import escape

from report_print import ratio_text, write
from report_rows import ROWS, label
from report_run import missed

WIDTH = 960
MARGIN = 24
PEER_X = 340  # where the names of the peers begin
PLOT_LEFT, PLOT_RIGHT = 478, 880
TOP = 108  # above the first area
ROW_HEIGHT, BAR_HEIGHT = 22, 12
AREA_HEIGHT = 40
LEAST, MOST = 0.005, 20  # what is beyond is drawn at the edge; its number says how far beyond
TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)

STYLE = """
  .page { fill: #ffffff; stroke: #d1d9e0; }
  text { font: 12px system-ui, -apple-system, 'Segoe UI', 'Noto Sans', 'Liberation Sans', Helvetica, Arial, sans-serif; fill: #1f2328; }
  .band { fill: #f6f8fa; }
  .title { font-size: 18px; font-weight: 600; }
  .area { font-size: 13px; font-weight: 600; }
  .quiet { fill: #59636e; }
  .tick { font-size: 11px; fill: #59636e; }
  .value { font-variant-numeric: tabular-nums; font-weight: 600; }
  .grid { stroke: #d1d9e0; stroke-opacity: 0.7; }
  .one { stroke: #59636e; stroke-width: 1.5; }
  .within { fill: #0969da; }
  .over { fill: #bc4c00; }
  .shown { fill: #818b98; }
  .reach { fill: #1f2328; stroke: #ffffff; }
  text.within { fill: #0550ae; }
  text.over { fill: #953800; }
  text.shown { fill: #59636e; }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117; stroke: #3d444d; }
    .band { fill: #151b23; }
    text { fill: #f0f6fc; }
    .quiet, .tick { fill: #9198a1; }
    .grid { stroke: #3d444d; }
    .one { stroke: #9198a1; }
    .within { fill: #4493f8; }
    .over { fill: #db6d28; }
    .shown { fill: #656c76; }
    .reach { fill: #f0f6fc; stroke: #0d1117; }
    text.within { fill: #4493f8; }
    text.over { fill: #db6d28; }
    text.shown { fill: #9198a1; }
  }
"""


def extent(objects):
    """The least and the greatest value of the scale: two ticks, with all that is drawn between them."""
    values = [one["ratio"] for one in objects] + [one["reach"] for one in objects if one["reach"]] + [1]
    below = [tick for tick in TICKS if tick <= max(min(values), LEAST)]
    above = [tick for tick in TICKS if tick >= min(max(values), MOST)]
    return min(max(below, default=LEAST), 0.1), max(min(above, default=MOST), 2)


def groups(objects):
    """[(area, [object …]) …] in the report's order; a scenario that the report has no longer comes last."""
    areas = {row.scenario: row.area for row in ROWS}
    names = [*dict.fromkeys(row.area for row in ROWS), "Other"]
    found = {name: [one for one in objects if areas.get(one["scenario"], "Other") == name] for name in names}
    return [(name, members) for name, members in found.items() if members]


def kind(one):
    return "shown" if one["reach"] is None else "over" if missed(one["ratio"], one["reach"]) else "within"


class Chart:
    def __init__(self, objects, workers, caption):
        self.objects, self.workers, self.caption = objects, workers, caption
        self.least, self.most = extent(objects)
        self.parts = []

    def x(self, value):
        clamped = min(max(value, self.least), self.most)
        return PLOT_LEFT + (PLOT_RIGHT - PLOT_LEFT) * math.log(clamped / self.least) / math.log(self.most / self.least)

    def text(self, x, y, content, style="", anchor="start"):
        style = f' class="{style}"' if style else ""
        anchor = f' text-anchor="{anchor}"' if anchor != "start" else ""
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}"{style}{anchor}>{escape(content)}</text>')

    def rect(self, x, y, width, height, style, radius=0):
        rounded = f' rx="{radius}"' if radius else ""
        self.parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"{rounded} class="{style}"/>')

    def line(self, x, top, bottom, style):
        self.parts.append(f'<line x1="{x:.1f}" y1="{top:.1f}" x2="{x:.1f}" y2="{bottom:.1f}" class="{style}"/>')

    def reach(self, x, middle):
        self.rect(x - 2, middle - 9, 4, 18, "reach", 1.5)

    def header(self):
        self.text(MARGIN, 38, f"Quiesce beside its peers, {self.workers} worker{'s' * (self.workers > 1)}", "title")
        self.text(MARGIN, 60, "Time or memory of ours / the peer’s, on a log scale: a bar to the left of 1: ours is better.", "quiet")
        x = MARGIN
        for style, words in (("within", "within its reach"), ("over", "misses its reach"), ("shown", "has none")):
            if any(kind(one) == style for one in self.objects):
                self.rect(x, 74, 20, BAR_HEIGHT, style, 2)
                self.text(x + 27, 84.5, words, "quiet")
                x += 54 + 6.2 * len(words)
        self.reach(x + 4, 80)
        self.text(x + 14, 84.5, "reach", "quiet")

    def row(self, one, middle, shows_scenario):
        baseline = middle + 4
        if shows_scenario:
            self.text(MARGIN, baseline, one["scenario"])
        self.text(PEER_X, baseline, label(one["peer"]), "quiet")
        start, end = sorted((self.x(one["ratio"]), self.x(1)))
        self.rect(start, middle - BAR_HEIGHT / 2, max(end - start, 1), BAR_HEIGHT, kind(one), 2)
        if one["reach"] is not None:
            self.reach(self.x(one["reach"]), middle)
        self.text(WIDTH - MARGIN, baseline, ratio_text(one["ratio"]), f"value {kind(one)}", "end")

    @staticmethod
    def middle(top_of_area, number):
        return top_of_area + AREA_HEIGHT + ROW_HEIGHT * (number + 0.5) - 4

    def bands(self, by_area):
        """Behind every other scenario, which leads the eye from its name to its bars."""
        y = TOP
        for _, members in by_area:
            scenarios = list(dict.fromkeys(one["scenario"] for one in members))
            for number, one in enumerate(members):
                if scenarios.index(one["scenario"]) % 2 == 0:
                    self.rect(MARGIN - 8, self.middle(y, number) - ROW_HEIGHT / 2, WIDTH - 2 * MARGIN + 16, ROW_HEIGHT, "band")
            y += AREA_HEIGHT + ROW_HEIGHT * len(members)

    def ticks(self, top, bottom):
        for tick in TICKS:
            if self.least <= tick <= self.most:
                self.line(self.x(tick), top, bottom, "one" if tick == 1 else "grid")
                for y in (top - 6, bottom + 16):
                    self.text(self.x(tick), y, f"{tick:g}", "tick", "middle")

    def svg(self):
        by_area = groups(self.objects)
        height_of = [AREA_HEIGHT + ROW_HEIGHT * len(members) for _, members in by_area]
        bottom = TOP + sum(height_of) - 4
        height = bottom + 34 + 17 * len(self.caption)
        self.rect(0.5, 0.5, WIDTH - 1, height - 1, "page", 8)
        self.header()
        self.bands(by_area)
        self.ticks(TOP + 6, bottom)
        y = TOP
        for (area, members), part in zip(by_area, height_of):
            self.text(MARGIN, y + 27, area, "area")
            above = None
            for number, one in enumerate(members):
                self.row(one, self.middle(y, number), one["scenario"] != above)
                above = one["scenario"]
            y += part
        for number, said in enumerate(self.caption):
            self.text(MARGIN, bottom + 38 + 17 * number, said, "tick")
        title = f"Quiesce beside its peers, {self.workers} worker{'s' * (self.workers > 1)}: ratios, lower is better"
        body = "\n".join(self.parts)
        return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" role="img">\n'
                f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n{body}\n</svg>\n")


def write_all(folder, objects, caption):
    """Draws each number of workers that is there into a file of its own; yields their paths."""
    for workers in sorted({one["workers"] for one in objects}):
        path = os.path.join(folder, f"ratios_{workers}_worker{'s' * (workers > 1)}.svg")
        write(path, Chart([one for one in objects if one["workers"] == workers], workers, caption).svg())
        yield path
