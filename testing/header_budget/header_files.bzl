"""header_files: the headers of C++ targets and of all that they depend on, as files that a test can read."""

load("@rules_cc//cc/common:cc_info.bzl", "CcInfo")

def _header_files_impl(ctx):
    headers = depset(transitive = [dep[CcInfo].compilation_context.headers for dep in ctx.attr.deps])
    return [DefaultInfo(
        files = headers,
        runfiles = ctx.runfiles(transitive_files = headers),
    )]

header_files = rule(
    implementation = _header_files_impl,
    attrs = {"deps": attr.label_list(providers = [CcInfo])},
)
