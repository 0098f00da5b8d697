"""The tests of a primitive once more, in the lab."""

load("//runtime:quiesce_cc.bzl", "quiesce_cc_test")

def quiesce_in_lab_test(name, deps = [], without = [], repeat = 10, virtual_time = False):
    """PRIMITIVE_test.cc with each Run of its fixture as an execution in the lab, with other seeds each time.

    Args:
      name: PRIMITIVE_in_lab_test.
      deps: what it needs beside the fixture and GoogleTest.
      without: patterns of --gtest_filter: tests that use threads, a clock of their own, or the order of one worker; each with
          its reason beside it.
      repeat: how often.
      virtual_time: it uses virtual_time.h as well.
    """
    skipped = ":".join(["*DeathTest*", "*Thread*", "*Stress*"] + without)
    quiesce_cc_test(
        name = name,
        srcs = [name[:-len("_in_lab_test")] + "_test.cc"],
        args = [
            "--gtest_brief=1",
            "--gtest_repeat=%d" % repeat,
            "--gtest_filter=-" + skipped,
        ],
        # The schedule does not depend on the configuration, so once is enough.
        tags = [
            "exceptions",
            "once",
        ],
        deps = [
            "//testing/rules:fixture_in_lab",
            "@com_google_googletest//:gtest_main",
        ] + (["//testing/rules:virtual_time_in_lab"] if virtual_time else []) + deps,
    )
