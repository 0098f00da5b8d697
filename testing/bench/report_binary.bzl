"""report_binary: a binary once more, compiled with options of its own, and with it all that it is linked from.

A cc_binary's copts reach its own sources only. What the report compares has to differ in the whole runtime: compiled with thin LTO, or without a part.
"""

def _with_options_impl(settings, attr):
    copt, linkopt = "//command_line_option:copt", "//command_line_option:linkopt"
    return {
        copt: settings[copt] + attr.copts,
        linkopt: settings[linkopt] + attr.linkopts,
    }

_with_options = transition(
    implementation = _with_options_impl,
    inputs = [
        "//command_line_option:copt",
        "//command_line_option:linkopt",
    ],
    outputs = [
        "//command_line_option:copt",
        "//command_line_option:linkopt",
    ],
)

def _report_binary_impl(ctx):
    program = ctx.actions.declare_file(ctx.label.name)
    ctx.actions.symlink(output = program, target_file = ctx.executable.binary, is_executable = True)
    return [DefaultInfo(executable = program, runfiles = ctx.runfiles([program]))]

report_binary = rule(
    implementation = _report_binary_impl,
    attrs = {
        "binary": attr.label(
            cfg = _with_options,
            executable = True,
            mandatory = True,
        ),
        "copts": attr.string_list(),
        "linkopts": attr.string_list(),
        "_allowlist_function_transition": attr.label(default = "@bazel_tools//tools/allowlists/function_transition_allowlist"),
    },
    executable = True,
)
