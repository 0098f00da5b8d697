"""What a QUIESCE_MAIN program does at its end and at signals, seen from outside: exit codes, and what it says.

Usage: main_test.py MAIN_PROGRAM
"""

import os
import re
import select
import signal
import subprocess
import sys
import unittest

PROGRAM = None
DRAINED = r"quiesce: drained (\d+) tasks?, cut off (\d+), ran (\d+) finalizers?, in \S+\n"


class Ended:
    def __init__(self, process, stdout, stderr):
        self.code = process.returncode
        self.stdout = stdout
        self.stderr = stderr


class Running:
    def __init__(self, mode):
        self.process = subprocess.Popen(
            [PROGRAM, mode], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        line = self.process.stdout.readline()
        assert line == "ready\n", line

    def send(self, number):
        self.process.send_signal(number)

    def wait_for(self, pattern):
        """Reads stderr up to the line that matches."""
        while line := self.process.stderr.readline():
            if re.search(pattern, line):
                return
        raise AssertionError(f"no line matches {pattern}")

    def dump_until(self, *patterns):
        """Asks for dumps until one matches everything: what the process is to show may still be on its way."""
        for _ in range(100):
            self.send(signal.SIGQUIT)
            dump = ""
            while select.select([self.process.stderr], [], [], 0.2 if dump else 10)[0]:
                data = os.read(self.process.stderr.fileno(), 1 << 16).decode()
                if not data:
                    raise AssertionError(f"the process has ended; its last words:\n{dump}")
                dump += data
            if all(re.search(pattern, dump) for pattern in patterns):
                return
        raise AssertionError(f"no dump matches {patterns}; the last one:\n{dump}")

    def wait(self):
        return Ended(self.process, *self.process.communicate(timeout=60))


def run(mode):
    process = subprocess.Popen([PROGRAM, mode], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return Ended(process, *process.communicate(timeout=60))


class ExitCodeTest(unittest.TestCase):
    def test_ok_is_0_and_silent(self):
        ended = run("ok")
        self.assertEqual((ended.code, ended.stdout, ended.stderr), (0, "", ""))

    def test_error_is_1_and_explained(self):
        ended = run("error")
        self.assertEqual(ended.code, 1)
        self.assertIn("quiesce: main ended with Error(NOT_FOUND: no such ledger)", ended.stderr)

    def test_panic_is_70_and_explained(self):
        ended = run("panic")
        self.assertEqual(ended.code, 70)
        self.assertRegex(ended.stderr, r"quiesce: main ended with Panicked.*balance below zero.*main_program\.cc")

    def test_panic_of_a_child_is_70_and_cancels_main(self):
        ended = run("child-panic")
        self.assertEqual(ended.code, 70)
        self.assertIn("balance below zero", ended.stderr)

    def test_task_that_was_cut_off_makes_75(self):
        running = Running("cut-off")
        running.send(signal.SIGTERM)
        ended = running.wait()
        self.assertEqual(ended.code, 75, ended.stderr)
        self.assertEqual(re.search(DRAINED, ended.stderr).group(2), "1")

    def test_request_that_was_cut_off_before_is_no_part_of_the_shutdown(self):
        running = Running("request-cut-off")
        running.send(signal.SIGTERM)
        ended = running.wait()
        self.assertEqual(ended.code, 0, ended.stderr)
        self.assertEqual(re.search(DRAINED, ended.stderr).groups(), ("1", "0", "1"))

    def test_atexit_handlers_run_after_the_runtime_has_gone(self):
        ended = run("late-exit")
        self.assertEqual((ended.code, ended.stdout), (0, "at exit\n"))


class SignalTest(unittest.TestCase):
    def shutdown(self, mode, number):
        running = Running(mode)
        running.send(number)
        ended = running.wait()
        self.assertEqual(ended.code, 0, ended.stderr)
        self.assertIn("finalized\n", ended.stdout)
        drained, cut_off, finalizers = re.search(DRAINED, ended.stderr).groups()
        self.assertGreaterEqual(int(drained), 1)
        self.assertEqual((cut_off, finalizers), ("0", "1"))
        return ended

    def test_sigterm_that_is_waited_for_is_a_handled_shutdown(self):
        self.assertIn("Terminated\n", self.shutdown("claimed", signal.SIGTERM).stdout)

    def test_sigint_that_is_waited_for_is_a_handled_shutdown(self):
        self.assertIn("Interrupt\n", self.shutdown("claimed", signal.SIGINT).stdout)

    def test_sigterm_that_nobody_waits_for_cancels_the_root(self):
        self.shutdown("unclaimed", signal.SIGTERM)

    def test_sigint_that_nobody_waits_for_cancels_the_root(self):
        self.shutdown("unclaimed", signal.SIGINT)

    def test_third_signal_ends_the_process_at_once_after_a_warning(self):
        running = Running("stuck")
        running.send(signal.SIGTERM)
        running.dump_until(r"region 'root'.*Draining")  # the first has been taken
        running.send(signal.SIGINT)
        running.wait_for("the next SIGINT or SIGTERM ends the process at once")
        running.send(signal.SIGTERM)
        self.assertEqual(running.wait().code, -signal.SIGTERM)

    def test_sigquit_prints_the_region_tree_and_changes_nothing(self):
        running = Running("unclaimed")
        running.dump_until(r"the live region tree", r"region 'root'", r"'work'.* in Sleep", r"at .*main_program\.cc:\d+ in Forever")
        running.send(signal.SIGTERM)
        self.assertEqual(running.wait().code, 0)


class ForkTest(unittest.TestCase):
    def test_child_may_exec_or_exit_at_once_and_the_parent_goes_on(self):
        ended = run("fork")
        self.assertEqual((ended.code, ended.stdout), (0, ""), ended.stderr)


if __name__ == "__main__":
    PROGRAM = os.path.abspath(sys.argv.pop(1))
    unittest.main()
