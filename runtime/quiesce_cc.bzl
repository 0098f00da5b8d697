"""The three rules that every BUILD file of this repository uses for C++.

They are cc_library, cc_test and cc_binary with one thing settled: an include says whose header it is. `runtime/task/task.h` is included as
"quiesce/runtime/task/task.h", here and in a codebase that depends on this one, which may well have a runtime/task/task.h of its own.
"""

load("@rules_cc//cc:defs.bzl", "cc_binary", "cc_library", "cc_test")

def quiesce_cc_library(name, **kwargs):
    """A cc_library whose headers are found below "quiesce/".

    A header that others include belongs into `hdrs`; one in `srcs` is not found below "quiesce/", so an internal header gets a private target of its own.

    Args:
      name: name of the target, and of its header without the ending.
      **kwargs: as for cc_library.
    """
    if "include_prefix" in kwargs or "strip_include_prefix" in kwargs or "includes" in kwargs:
        fail("%s: include paths are not a target's choice; they begin with quiesce/ and the package's name" % name)
    cc_library(
        name = name,
        include_prefix = "quiesce/" + native.package_name(),
        **kwargs
    )

def quiesce_cc_test(name, size = "medium", **kwargs):
    """A cc_test, medium (five minutes, for sanitizers on a busy machine) unless it says otherwise, so that a test that hangs is soon a test that fails.

    Args:
      name: name of the target.
      size: as for cc_test.
      **kwargs: as for cc_test.
    """
    cc_test(
        name = name,
        size = size,
        **kwargs
    )

def quiesce_cc_binary(name, **kwargs):
    """A cc_binary.

    Args:
      name: name of the target.
      **kwargs: as for cc_binary.
    """
    cc_binary(
        name = name,
        **kwargs
    )
