"""This codebase's own Abseil, under the name that Quiesce asks for: one library with everything in it, behind each of the usual labels.

It happens to be Debian's, as this example must build anywhere; the point is that nothing of it comes from Quiesce's overlay.
"""

_PACKAGES = {
    "base": ["base", "config", "core_headers"],
    "cleanup": ["cleanup"],
    "container": ["fixed_array", "flat_hash_map", "flat_hash_set", "inlined_vector"],
    "functional": ["any_invocable", "function_ref"],
    "memory": ["memory"],
    "meta": ["type_traits"],
    "numeric": ["bits", "int128"],
    "random": ["distributions", "random", "seed_sequences"],
    "status": ["status", "statusor"],
    "strings": ["cord", "str_format", "strings"],
    "synchronization": ["synchronization"],
    "time": ["time"],
    "types": ["optional", "span"],
}

_EVERYTHING = """load("@rules_cc//cc:defs.bzl", "cc_library")

cc_library(
    name = "everything",
    # Lets hello.cc prove which Abseil it was given.
    defines = ["CONSUMER_OWN_ABSEIL"],
    linkopts = {linkopts},
    visibility = ["//visibility:public"],
)
"""

_ALIAS = """
alias(
    name = "{name}",
    actual = "//:everything",
    visibility = ["//visibility:public"],
)
"""

def _own_abseil_impl(rctx):
    libraries = rctx.execute(["pkg-config", "--libs-only-l", "absl_statusor", "absl_flat_hash_map", "absl_str_format", "absl_any_invocable", "absl_random_distributions", "absl_random_seed_sequences", "absl_cord"])
    if libraries.return_code != 0:
        fail("pkg-config: " + libraries.stderr)
    linkopts = []
    for option in libraries.stdout.strip().split(" "):
        if option.startswith("-l") and option not in linkopts:
            linkopts.append(option)
    rctx.file("BUILD.bazel", _EVERYTHING.format(linkopts = repr(linkopts)))
    for package, names in _PACKAGES.items():
        rctx.file("absl/%s/BUILD.bazel" % package, "".join([_ALIAS.format(name = name) for name in names]))

own_abseil = repository_rule(
    implementation = _own_abseil_impl,
    local = True,
)
