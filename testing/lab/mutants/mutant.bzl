"""A runtime with one mistake, and the oracle that finds it."""

load("//runtime:quiesce_cc.bzl", "quiesce_cc_test")

def _quoted(text):
    return "'" + text.replace("'", "'\\''").replace("$", "$$") + "'"

def quiesce_mutant_test(name, of, source, old, new, program, fails, says = ""):
    """Runs a program of programs.cc by the runtime with another text in one place of one source.

    The changed source is one of the test's own, so that the linker has its symbols when it comes to the archive of the library and takes the rest from there,
    but not that source's object.

    Args:
      name: GUARANTEE_WHAT_IS_WRONG_test.
      of: the library that the source belongs to.
      source: its name; not a header, or the library's other objects would be those of another program.
      old: what is changed: it is in the source exactly once.
      new: what it is changed to.
      program: which program runs, see programs.cc; programs_test runs it by the runtime as it is.
      fails: how each failure begins: the guarantee, "G1 (no orphans)".
      says: what else the failure of the exhaustive exploration says.
    """
    package = of.split(":")[0]
    changed = name[:-len("_test")] + "." + source
    native.genrule(
        name = name + "_source",
        srcs = [package + ":" + source],
        outs = [changed],
        cmd = "$(location mutate.sh) $< %s %s %s > $@" % (_quoted(package[2:] + "/" + source), _quoted(old), _quoted(new)),
        tools = ["mutate.sh"],
    )
    quiesce_cc_test(
        name = name,
        srcs = [changed],
        args = [
            "--program=" + program,
            _quoted("--fails=" + fails),
            _quoted("--says=" + says),
        ],
        # It includes what its library may, which need not be visible here.
        features = ["-layering_check"],
        linkstatic = True,
        # What is wrong does not depend on the configuration, so once is enough.
        tags = [
            "exceptions",
            "once",
        ],
        deps = [
            ":mutant_main",
            of,
        ],
    )
