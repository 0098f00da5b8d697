"""Debian's libraries under the labels that everybody uses for them: @com_google_absl//absl/status, @com_google_googletest//:gtest_main, …"""

load(":abseil.bzl", "ABSEIL_TARGETS")
load(":pkg_config_repository.bzl", "pkg_config_repository")

# buildifier: disable=unnamed-macro
def quiesce_system_libraries():
    """Defines each library's repository, only if the workspace has not defined it yet.

    A codebase that has its own Abseil, GoogleTest or Benchmark defines them under the same names and never needs this function.
    """
    if not native.existing_rule("com_google_absl"):
        pkg_config_repository(
            name = "com_google_absl",
            targets = ABSEIL_TARGETS,
        )
    if not native.existing_rule("liburing"):
        pkg_config_repository(
            name = "liburing",
            targets = {"": ["liburing=liburing"]},
        )
    if not native.existing_rule("com_google_googletest"):
        native.new_local_repository(
            name = "com_google_googletest",
            path = "/usr/src/googletest",
            build_file = str(Label("//third_party:googletest.BUILD")),
        )
    if not native.existing_rule("com_google_benchmark"):
        native.new_local_repository(
            name = "com_google_benchmark",
            path = "/usr/include/benchmark",
            build_file = str(Label("//third_party:benchmark.BUILD")),
        )
    if not native.existing_rule("boost"):
        native.new_local_repository(
            name = "boost",
            path = "/usr/include/boost/context",
            build_file = str(Label("//third_party:boost.BUILD")),
        )
