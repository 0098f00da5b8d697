"""The report's own parts, without a benchmark: its rows, its arithmetic, its JSON and its drawings."""

import contextlib
import io
import json
import os
import stat
import sys
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree
from unittest import mock

import report
import report_charts
import report_print
import report_rows
import report_run
from report_rows import Figure, Row

SVG = "{http://www.w3.org/2000/svg}"


def a_row(**changed):
    row = Row("Tasks", "yield, 100 tasks", Figure("ours", "yield", "yield"), (Figure("tokio", "yield", "yield"),), "ns", 0.5)
    return row._replace(**changed)


def an_object(**changed):
    return {"scenario": "yield, 100 tasks", "peer": "tokio", "workers": 1, "ours": 10.0, "peer_value": 40.0, "unit": "ns", "ratio": 0.25,
            "reach": 0.5, **changed}


def refused(*argv):
    """What the report says to wrong arguments, before it exits with 2."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        try:
            report.arguments(argv)
        except SystemExit as ended:
            assert ended.code == 2, ended.code
            return said.getvalue()
    raise AssertionError(f"{argv} were taken")


class RowsTest(unittest.TestCase):
    def test_a_scenario_and_a_peer_are_one_row(self):
        names = [(row.scenario, row.peer) for row in report_rows.ROWS]
        self.assertEqual(sorted(set(names)), sorted(names))

    def test_a_row_has_sides_that_exist_and_begins_with_ours(self):
        for row in report_rows.ROWS:
            self.assertEqual("ours", row.ours.side, row)
            for figure in row.figures:
                self.assertIn(figure.side, report_rows.SIDES, row)

    def test_a_row_has_a_peer_or_a_limit(self):
        for row in report_rows.ROWS:
            self.assertEqual(row.limit is None, bool(row.peers), row)

    def test_a_reach_is_a_ratio_that_can_be_reached(self):
        for row in report_rows.ROWS:
            if row.reach is not None:
                self.assertGreater(row.reach, 0, row)
                self.assertLessEqual(row.reach, 1.0 if row.peer not in ("itself", "limit") and row.unit != "bytes" else 1.5, row)

    def test_names_fit_their_columns(self):
        for row in report_rows.ROWS:
            self.assertLessEqual(len(row.scenario), 50, row.scenario)
            self.assertLessEqual(len(report_rows.label(row.peer)), 20, row.peer)

    def test_the_rows_of_an_area_and_of_a_scenario_stand_together(self):
        for key in (lambda row: row.area, lambda row: row.scenario):
            runs = [key(row) for row, before in zip(report_rows.ROWS, [None, *report_rows.ROWS]) if before is None or key(before) != key(row)]
            self.assertEqual(len(set(runs)), len(runs))

    def test_every_peer_has_a_row(self):
        sides = {figure.side for row in report_rows.ROWS for figure in row.figures}
        self.assertEqual(set(report_rows.SIDES), sides)

    def test_the_better_of_two_peers_names_both(self):
        row = a_row(peers=(Figure("tokio", "yield", "yield"), Figure("asio", "yield", "yield")))
        self.assertEqual("best of tokio, asio", row.peer)
        self.assertEqual("best of Tokio, Asio", report_rows.label(row.peer))


class AgreementTest(unittest.TestCase):
    def test_ours_has_the_benchmarks(self):
        with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "quiesce_bench.cc"), encoding="utf-8") as file:
            source = file.read()
        for row in report_rows.ROWS:
            for figure in row.figures:
                if figure.side in report_run.BUILT_BY_BAZEL:
                    self.assertIn(f'{{"{figure.benchmark}", &', source)

    def test_the_table_has_each_row_with_its_figures_and_its_reaches(self):
        with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "README.md"), encoding="utf-8") as file:
            lines = [line.strip("|\n ").split(" | ") for line in file if line.startswith("| ") and "`" in line]
        table = {line[0]: line[1:] for line in lines}
        for row in report_rows.ROWS:
            self.assertIn(row.scenario, table)
            figures, reaches = table[row.scenario]
            for figure in row.figures:
                self.assertIn(f"`{figure.name}`", figures)
            self.assertIn(f"{report_rows.label(row.peer)} {'shown' if row.reach is None else row.reach}", reaches)


    def test_what_bazel_builds_is_built_for_the_report_alone(self):
        with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "BUILD.bazel"), encoding="utf-8") as file:
            targets = file.read().split("\n\n")
        for name in report_run.BUILT_BY_BAZEL.values():
            target, = [target for target in targets if f'name = "{name}"' in target]
            self.assertIn("report_binary(", target)
            self.assertIn('tags = ["manual"]', target)
            self.assertIn("LTO_COPTS", target)


class SettingsTest(unittest.TestCase):
    def test_every_benchmark_has_a_size_for_a_quick_run_and_no_other_has(self):
        benchmarks = {figure.benchmark for row in report_rows.ROWS for figure in row.figures} - {"idle_cpu"}
        self.assertEqual(benchmarks, set(report_rows.QUICK_N))

    def test_a_quick_run_is_one_round(self):
        for benchmark in report_rows.QUICK_N:
            self.assertEqual(("--rounds=1", f"--n={report_rows.QUICK_N[benchmark]}"), report_rows.settings(benchmark, quick=True))

    def test_a_full_run_leaves_the_size_to_the_benchmark(self):
        self.assertEqual(("--rounds=3",), report_rows.settings("yield", quick=False))

    def test_a_full_run_parks_a_million_tasks_on_both_sides(self):
        for benchmark in ("parked_bytes", "parked_bytes_notify"):
            self.assertIn("--n=1000000", report_rows.settings(benchmark, quick=False))

    def test_a_short_look_at_an_idle_process_stands_for_ten_seconds(self):
        self.assertIn("--seconds=10", report_rows.settings("idle_cpu", quick=False))
        self.assertEqual(1, report_rows.factor("idle_cpu", quick=False))
        seconds = int(report_rows.settings("idle_cpu", quick=True)[-1].removeprefix("--seconds="))
        self.assertEqual(10, seconds * report_rows.factor("idle_cpu", quick=True))

    def test_both_sides_of_a_row_do_as_many_in_a_quick_run(self):
        # What a timer costs does not depend on how often one is made, and these sides differ by orders of magnitude.
        for row in report_rows.ROWS:
            if row.ours.benchmark not in ("timer_wheel", "sleep_given_up", "idle_cpu"):
                sizes = {report_rows.QUICK_N[figure.benchmark] for figure in row.figures}
                self.assertEqual(1, len(sizes), row)


class ArithmeticTest(unittest.TestCase):
    def test_a_result_is_the_ratio_of_the_medians(self):
        figures = {("ours", "yield"): [(10, "ns"), (90, "ns"), (20, "ns")], ("tokio", "yield"): [(80, "ns"), (40, "ns"), (10, "ns")]}
        result = report_run.result(a_row(), 1, figures)
        self.assertEqual((20, 40, 0.5, "tokio"), (result.ours, result.peer, result.ratio, result.best))
        self.assertFalse(result.missed)  # exactly the reach

    def test_a_ratio_above_the_reach_misses_it_and_without_one_nothing_is_missed(self):
        self.assertTrue(report_run.missed(0.51, 0.5))
        self.assertFalse(report_run.missed(0.5, 0.5))
        self.assertFalse(report_run.missed(99, None))

    def test_the_better_of_two_peers_counts(self):
        row = a_row(peers=(Figure("tokio", "yield", "yield"), Figure("asio", "yield", "yield")))
        figures = {("ours", "yield"): [(10, "ns")], ("tokio", "yield"): [(40, "ns")], ("asio", "yield"): [(20, "ns")]}
        result = report_run.result(row, 2, figures)
        self.assertEqual((20, "asio", 0.5), (result.peer, result.best, result.ratio))

    def test_a_limit_stands_in_for_a_peer(self):
        row = a_row(peers=(), limit=1.0, unit="ms", reach=1.0)
        result = report_run.result(row, 1, {("ours", "yield"): [(60, "us")]})
        self.assertEqual((0.06, 1.0, "", "limit"), (result.ours, result.peer, result.best, row.peer))
        self.assertTrue(report_run.result(row, 1, {("ours", "yield"): [(1100, "us")]}).missed)

    def test_units_of_time_are_converted(self):
        self.assertEqual(2.5, report_run.converted(2500, "ns/op", "us"))
        self.assertEqual(0.06, report_run.converted(60, "us", "ms"))
        self.assertEqual(350, report_run.converted(350, "bytes", "bytes"))

    def test_a_peer_that_takes_no_time_does_not_divide_by_zero(self):
        self.assertGreater(report_run.ratio(1, 0), 1e6)
        self.assertEqual(0, report_run.ratio(0, 0))

    def test_spread_is_half_the_range_in_percent_of_the_median(self):
        self.assertEqual(10, report_run.spread([90, 100, 110]))
        self.assertEqual(0, report_run.spread([7]))
        self.assertEqual(0, report_run.spread([0, 0, 5]))

    def test_a_figure_that_no_benchmark_printed_is_a_failure(self):
        with self.assertRaisesRegex(report_run.Failed, "tokio's benchmark 'yield' printed no figure 'yield'") as caught:
            report_run.check_figures([a_row()], {("ours", "yield"): [(1, "ns")], ("tokio", "other"): [(1, "ns")]})
        self.assertEqual(2, caught.exception.code)

    def test_a_figure_in_another_kind_of_unit_is_a_failure(self):
        with self.assertRaisesRegex(report_run.Failed, "is in bytes, the row 'yield, 100 tasks' in ns"):
            report_run.check_figures([a_row()], {("ours", "yield"): [(1, "ns")], ("tokio", "yield"): [(1, "bytes")]})


class OrderTest(unittest.TestCase):
    def test_rows_that_share_a_benchmark_run_in_turns(self):
        rows = [a_row(), a_row(peers=(Figure("go", "yield", "yield"),)), a_row(ours=Figure("ours", "race", "race"))]
        # The third row shares the peer's benchmark.
        self.assertEqual([(rows, [("ours", "yield"), ("tokio", "yield"), ("go", "yield"), ("ours", "race")])], report_run.together(rows))

    def test_a_row_may_join_two_groups(self):
        left = a_row()
        right = a_row(ours=Figure("ours", "race", "race"), peers=(Figure("go", "race", "race"),))
        both = a_row(peers=(Figure("go", "race", "race"),))
        self.assertEqual([[left, right, both]], [members for members, _ in report_run.together([left, right, both])])

    def test_areas_stay_apart_and_no_row_is_lost(self):
        groups = report_run.together(report_rows.ROWS)
        for members, order in groups:
            self.assertEqual(1, len({row.area for row in members}))
            self.assertEqual({(figure.side, figure.benchmark) for row in members for figure in row.figures}, set(order))
            self.assertEqual(len(set(order)), len(order))
        self.assertEqual(report_rows.ROWS, [row for members, _ in groups for row in members])


class RunTest(unittest.TestCase):
    """With scripts in the place of benchmarks."""

    def program(self, script):
        folder = self.enterContext(tempfile.TemporaryDirectory(dir=os.environ.get("TEST_TMPDIR")))
        path = os.path.join(folder, "bench")
        with open(path, "w") as file:
            file.write("#!/bin/sh\n" + script)
        os.chmod(path, stat.S_IRWXU)
        return path

    def run_it(self, script, timeout_s=60):
        return report_run.run(self.program(script), "yield", 2, ("--rounds=1",), timeout_s)

    def test_figures_are_read(self):
        self.assertEqual({"yield": (12.5, "ns/op"), "yield_p99": (3.0, "us")},
                         self.run_it(r"echo '# an idiom' >&2; printf 'yield\t12.5\tns/op\nyield_p99\t3\tus\n'"))

    def test_a_benchmark_is_told_its_name_and_the_workers(self):
        figures = self.run_it(r"""printf '%s\t1\tns\n' "$*" """)
        self.assertEqual(["--bench=yield --workers=2 --rounds=1"], list(figures))

    def test_a_benchmark_that_fails_is_named_with_its_command_and_its_stderr(self):
        with self.assertRaisesRegex(report_run.Failed, r"bench --bench=yield --workers=2 --rounds=1' ended with 7.*\n.*out of luck") as caught:
            self.run_it("echo out of luck >&2; exit 7")
        self.assertEqual(2, caught.exception.code)

    def test_a_benchmark_that_prints_something_else_is_a_failure(self):
        with self.assertRaisesRegex(report_run.Failed, "printed something else"):
            self.run_it("echo hello")

    def test_a_benchmark_that_does_not_end_is_stopped(self):
        with self.assertRaisesRegex(report_run.Failed, r"--bench=yield .* has not ended within 0.2 s.*\nstuck"):
            self.run_it("echo stuck >&2; exec sleep 60", timeout_s=0.2)

    def test_a_peer_without_a_build_script_cannot_be_built(self):
        with mock.patch.object(report_run, "HERE", "/nowhere"), contextlib.redirect_stderr(io.StringIO()):
            with self.assertRaisesRegex(report_run.Failed, "the Go peer cannot be built") as caught:
                report_run.build_peer("go")
        self.assertEqual(3, caught.exception.code)

    def test_a_peer_is_built_once_for_the_same_sources(self):
        here = self.enterContext(tempfile.TemporaryDirectory(dir=os.environ.get("TEST_TMPDIR")))
        script = os.path.join(here, "peers", "go", "build.sh")
        os.makedirs(os.path.dirname(script))
        built = os.path.join(here, "built")
        said = io.StringIO()
        with mock.patch.object(report_run, "HERE", here), mock.patch.object(report_run, "cache_folder", lambda: here), \
                contextlib.redirect_stderr(said):
            for source in ("1", "1", "2"):
                with open(script, "w") as file:
                    file.write(f'#!/bin/sh\nmkdir -p "$1"; echo {source} >>"{built}"; printf x >"$1/peer"; chmod +x "$1/peer"; echo "$1/peer"\n')
                os.chmod(script, stat.S_IRWXU)
                self.assertEqual(os.path.join(here, "go_peer", "peer"), report_run.build_peer("go"))
        with open(built) as file:
            self.assertEqual("1\n2\n", file.read())
        self.assertEqual(2, said.getvalue().count("building the Go peer"))

    def test_what_is_measured_before_a_failure_is_kept(self):
        good = self.program(r"printf 'yield\t10\tns/op\n'")
        bad = self.program("exit 1")
        rows = [a_row(), a_row(scenario="race", ours=Figure("ours", "race", "race"), peers=(Figure("go", "race", "race"),))]
        json_file = os.path.join(os.path.dirname(good), "report.json")
        options = mock.Mock(rows=rows, workers=[1], runs=2, quick=True, json=json_file)
        with mock.patch.object(report_run, "programs", lambda sides: {"ours": good, "tokio": good, "go": bad}), \
                mock.patch.object(report_run, "compiler", lambda: "cc"), \
                contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()), \
                self.assertRaisesRegex(report_run.Failed, "1 row was measured before"):
            report.run(options)
        self.assertEqual([an_object(peer_value=10.0, ratio=1.0)], report_print.read_json(json_file))


class ProgressTest(unittest.TestCase):
    def setUp(self):
        self.now = 0.0
        self.stream = io.StringIO()

    def step(self, progress, step, seconds):
        progress.begin(step, step)
        self.now += seconds
        progress.end(step)

    def test_without_a_terminal_a_line_comes_every_ten_seconds(self):
        progress = report_run.Progress(["a", "b"] * 6, self.stream, lambda: self.now)
        for _ in range(6):
            self.step(progress, "a", 1)
            self.step(progress, "b", 3)
        lines = self.stream.getvalue().splitlines()
        self.assertEqual(["1 of 12: a", "7 of 12, about 12 s left: a"], lines)

    def test_the_time_left_is_that_of_the_same_step_before(self):
        progress = report_run.Progress(["slow", "fast", "slow", "new"], self.stream, lambda: self.now)
        self.assertIsNone(progress.seconds_left())
        self.step(progress, "slow", 100)
        self.step(progress, "fast", 20)
        self.assertEqual(100 + 60, progress.seconds_left())

    def test_times_are_in_words(self):
        self.assertEqual(["40 s", "5 min", "2.0 h"], [report_run.in_words(seconds) for seconds in (40, 300, 7200)])


class JsonTest(unittest.TestCase):
    def setUp(self):
        self.file = os.path.join(self.enterContext(tempfile.TemporaryDirectory(dir=os.environ.get("TEST_TMPDIR"))), "report.json")

    def read(self, text):
        with open(self.file, "w") as file:
            file.write(text)
        return report_print.read_json(self.file)

    def test_what_is_written_is_read(self):
        results = [report_run.Result(a_row(), 1, 10, 40, "tokio"), report_run.Result(a_row(reach=None), 2, 1 / 3, 40, "tokio")]
        report_print.write_json(self.file, results)
        self.assertEqual([an_object(), an_object(workers=2, ours=0.333333, ratio=0.00833333, reach=None)], report_print.read_json(self.file))

    def test_an_object_has_these_keys(self):
        one, = report_print.as_json([report_run.Result(a_row(), 1, 10, 40, "tokio")])
        self.assertEqual(["scenario", "peer", "workers", "ours", "peer_value", "unit", "ratio", "reach"], list(one))

    def test_nothing_is_left_beside_the_file_and_others_may_read_it(self):
        report_print.write_json(self.file, [])
        self.assertEqual(["report.json"], os.listdir(os.path.dirname(self.file)))
        self.assertEqual(0o644, stat.S_IMODE(os.stat(self.file).st_mode))

    def test_what_is_no_report_is_refused(self):
        for text in ("", "{}", "[]", "[1]", '[{"scenario": "x"}]', *(json.dumps([an_object(**{key: wrong})]) for key, wrong in
                     (("ratio", None), ("workers", "1"), ("workers", 1.5), ("reach", 0), ("peer", None), ("ours", -1)))):
            with self.assertRaises(ValueError, msg=text):
                self.read(text)


class TableTest(unittest.TestCase):
    def test_a_missed_reach_is_said_with_its_reason(self):
        line = report_print.table_line(an_object(ratio=0.6), why="The reason.")
        self.assertIn("   missed: reach 0.50\n    The reason.", line)
        self.assertNotIn("missed", report_print.table_line(an_object(), why="The reason."))
        self.assertNotIn("The reason.", report_print.table_line(an_object(), why="The reason."))

    def test_the_better_peer_is_named(self):
        self.assertTrue(report_print.table_line(an_object(peer="best of tokio, asio"), best="asio").endswith("ns (Asio)"))

    def test_lines_stand_in_columns(self):
        ends = {report_print.table_line(an_object(ours=ours, ratio=ours, reach=reach), spreads).index("  ns")
                for ours in (0.004, 0.5, 12, 123456) for reach in (None, 0.05) for spreads in ((None, None), (3.2, None), (1, 12.7))}
        self.assertEqual(1, len(ends))
        self.assertEqual({report_print.table_heading(1).index("  unit")}, ends)

    def test_the_summary_counts_what_has_a_reach(self):
        self.assertEqual("missed: the reach of 1 of 2 rows", report_print.summary([an_object(), an_object(ratio=2), an_object(reach=None)]))
        self.assertEqual("no row misses its reach (1 have one)", report_print.summary([an_object()]))

    def test_the_heading_has_a_line_for_each_peer_that_takes_part(self):
        with mock.patch.object(report_print, "version", lambda package: "1.2"):
            lines = report_print.heading(["ours", "go", "tokio"], "cc 3")
        self.assertIn(", built by cc 3, -O2, thin LTO, ", lines[0])
        self.assertEqual(["Tokio: librust-tokio-dev 1.2, rustc 1.2, -O3, fat LTO", "Go: golang-1.19-go 1.2"], lines[2:])

    def test_the_commit_is_a_question_mark_without_git(self):
        with mock.patch.dict(os.environ, {"PATH": ""}):
            self.assertEqual("?", report_print.commit())
            self.assertEqual("?", report_print.version("librust-tokio-dev"))


class ChartsTest(unittest.TestCase):
    def chart(self, objects, caption=()):
        chart = report_charts.Chart(objects, 1, caption)
        return chart, ElementTree.fromstring(chart.svg())

    def bars(self, root, *kinds):
        kinds = kinds or ("within", "over", "shown")
        found = [(float(rect.get("x")), float(rect.get("width"))) for rect in root.iter(SVG + "rect") if rect.get("class") in kinds]
        return found

    def texts(self, root):
        return [text.text for text in root.iter(SVG + "text")]

    def test_every_row_of_the_report_can_be_drawn(self):
        objects = [an_object(scenario=row.scenario, peer=row.peer, reach=row.reach) for row in report_rows.ROWS]
        _, root = self.chart(objects)
        texts = self.texts(root)
        for row in report_rows.ROWS:
            self.assertIn(row.scenario, texts)
            self.assertIn(row.area, texts)
        legend = 3
        self.assertEqual(len(objects) + legend, len(self.bars(root)))
        self.assertNotIn("Other", texts)

    def test_text_is_escaped(self):
        _, root = self.chart([an_object(scenario='a < b & "c"')], ["by <somebody> & co"])
        self.assertIn('a < b & "c"', self.texts(root))
        self.assertIn("by <somebody> & co", self.texts(root))
        self.assertIn("Other", self.texts(root))

    def test_a_faster_row_grows_left_of_one_and_a_slower_one_right(self):
        chart, root = self.chart([an_object(ratio=0.25), an_object(ratio=1.5)])
        one = chart.x(1)
        (_, _), (_, _), (x_fast, width_fast), (x_slow, width_slow) = self.bars(root)  # after the legend's two
        self.assertAlmostEqual(one, x_fast + width_fast, delta=0.2)
        self.assertAlmostEqual(one, x_slow, delta=0.2)
        self.assertGreater(width_fast, width_slow)

    def test_the_scale_is_logarithmic(self):
        chart, _ = self.chart([an_object(ratio=0.01)])
        self.assertAlmostEqual(2 * (chart.x(1) - chart.x(0.1)), chart.x(1) - chart.x(0.01))

    def test_the_scale_has_room_for_all_ratios_and_reaches(self):
        for objects in ([an_object(ratio=0.03, reach=0.02)], [an_object(ratio=4)], [an_object(ratio=1, reach=None)]):
            least, most = report_charts.extent(objects)
            for one in objects:
                self.assertLessEqual(least, min(one["ratio"], one["reach"] or 1))
                self.assertGreaterEqual(most, one["ratio"])

    def test_what_is_beyond_the_scale_stays_inside_of_the_picture(self):
        _, root = self.chart([an_object(ratio=1e-9), an_object(ratio=1e9), an_object(ratio=0)])
        for x, width in self.bars(root):
            self.assertGreaterEqual(x, 0)
            self.assertLessEqual(x + width, report_charts.WIDTH)

    def test_the_colour_says_within_over_or_without_a_reach(self):
        self.assertEqual(["within", "over", "shown"],
                         [report_charts.kind(one) for one in (an_object(), an_object(ratio=0.6), an_object(reach=None))])

    def test_dark_readers_get_dark_colours_for_all_that_has_one(self):
        light, dark = report_charts.STYLE.split("@media (prefers-color-scheme: dark)")
        for style in ("page", "band", "grid", "one", "within", "over", "shown", "reach"):
            self.assertIn(f".{style} {{", light)
            self.assertIn(f".{style} {{", dark)

    def test_each_number_of_workers_has_a_file(self):
        with tempfile.TemporaryDirectory(dir=os.environ.get("TEST_TMPDIR")) as folder:
            files = list(report_charts.write_all(folder, [an_object(), an_object(workers=2)], []))
            self.assertEqual(["ratios_1_worker.svg", "ratios_2_workers.svg"], sorted(os.listdir(folder)))
            self.assertEqual(2, len(files))


class ArgumentsTest(unittest.TestCase):
    def test_all_rows_with_one_and_with_two_workers_in_five_runs(self):
        options = report.arguments([])
        self.assertEqual((report_rows.ROWS, [1, 2], 5, False), (options.rows, options.workers, options.runs, options.quick))

    def test_quick_is_one_run(self):
        self.assertEqual(1, report.arguments(["--quick"]).runs)

    def test_only_and_peer_choose_rows(self):
        options = report.arguments(["--only=mutex", "--peer=go", "--workers=2"])
        self.assertEqual({("mutex, alone", "go"), ("mutex, two tasks", "go")}, {(row.scenario, row.peer) for row in options.rows})
        self.assertEqual([2], options.workers)

    def test_of_the_better_of_two_the_chosen_one_is_left(self):
        rows = report.arguments(["--only=64 bytes", "--peer=asio"]).rows
        self.assertEqual({"asio"}, {row.peer for row in rows})

    def test_peers_with_commas_and_again_add_up(self):
        rows = report.arguments(["--peer=go,tbb", "--peer=itself"]).rows
        self.assertEqual({"go", "tbb", "itself", "limit"}, {row.peer for row in rows})

    def test_wrong_arguments_are_refused_with_what_there_is(self):
        self.assertIn("there are tokio, asio, tbb, go, itself", refused("--peer=rayon"))
        self.assertIn("there are: spawn + join", refused("--only=nothing like it"))
        self.assertIn("invalid positive value: '0'", refused("--runs=0"))
        self.assertIn("invalid positive value: 'x'", refused("--workers=x"))
        self.assertIn("unrecognized arguments: --fast", refused("--fast"))
        self.assertIn("there is no folder", refused("--json=/nowhere/report.json"))
        self.assertIn("--from-json runs nothing", refused("--from-json=report.json", "--quick"))

    def test_paths_are_relative_to_the_user(self):
        with mock.patch.dict(os.environ, {"BUILD_WORKING_DIRECTORY": "/"}):
            self.assertEqual("/report.json", report.arguments(["--json=report.json"]).json)
            self.assertEqual("/tmp/report.json", report.arguments(["--json=/tmp/report.json"]).json)


class ExitCodeTest(unittest.TestCase):
    def main(self, objects):
        with tempfile.TemporaryDirectory(dir=os.environ.get("TEST_TMPDIR")) as folder:
            file = os.path.join(folder, "report.json")
            with open(file, "w") as out:
                json.dump(objects, out)
            with mock.patch.object(sys, "argv", ["report", f"--from-json={file}"]), \
                    contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                return report.main()

    def test_zero_if_all_reach_one_if_one_misses_two_if_it_is_no_report(self):
        self.assertEqual(0, self.main([an_object(), an_object(reach=None, ratio=5)]))
        self.assertEqual(1, self.main([an_object(), an_object(ratio=0.6)]))
        self.assertEqual(2, self.main({"not": "rows"}))


if __name__ == "__main__":
    unittest.main()
