"""A repository whose targets are libraries that pkg-config knows.

new_local_repository could only give targets of one package; @com_google_absl//absl/status is in a package of its own. So this rule writes
a BUILD file for each. Headers are not listed: they are below /usr/include, which the compiler searches by itself and which must never
appear in -isystem (libstdc++'s #include_next would miss its turn).
"""

_BUILD = """load("@rules_cc//cc:defs.bzl", "cc_library")

package(default_visibility = ["//visibility:public"])
"""

_LIBRARY = """
cc_library(
    name = "{name}",
    linkopts = {linkopts},
)
"""

def _link_options(rctx, module):
    result = rctx.execute(["pkg-config", "--libs", module])
    if result.return_code != 0:
        fail("pkg-config does not know '%s', which @%s needs. Install its -dev package: third_party/debian-packages.txt lists it, ./bazelw installs it.\n%s" % (module, rctx.name, result.stderr))

    # Abseil's own --push-state … -latomic … --pop-state is for architectures without 64-bit atomics: only -l options are kept, each at its last place, which is
    # right for shared objects and keeps the link line short.
    libraries = []
    for option in reversed(result.stdout.strip().split(" ")):
        if option.startswith("-l") and option != "-latomic" and option not in libraries:
            libraries.append(option)
    return ["-Wl,--as-needed"] + reversed(libraries) if libraries else []

def _pkg_config_repository_impl(rctx):
    rctx.file("WORKSPACE", "workspace(name = \"%s\")\n" % rctx.name)
    for package, targets in rctx.attr.targets.items():
        text = _BUILD
        for target in targets:
            name, _, module = target.partition("=")
            text += _LIBRARY.format(name = name, linkopts = repr(_link_options(rctx, module)) if module else "[]")
        rctx.file((package + "/" if package else "") + "BUILD.bazel", text)

pkg_config_repository = repository_rule(
    implementation = _pkg_config_repository_impl,
    attrs = {
        "targets": attr.string_list_dict(doc = "package (\"\": the root) → its targets, each \"name=pkg-config module\", or \"name=\" for one that is headers only"),
    },
    environ = [
        "PATH",
        "PKG_CONFIG_PATH",
    ],
    local = True,
)
