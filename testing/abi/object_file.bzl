"""object_file: one source file, compiled by a compiler and with options of its own choice, against the headers of Bazel targets.

A cc_library is compiled by the toolchain of the whole build; objects of two compilers in one program need a rule like this one.
"""

load("@rules_cc//cc/common:cc_info.bzl", "CcInfo")

def _object_file_impl(ctx):
    contexts = [dep[CcInfo].compilation_context for dep in ctx.attr.deps]
    output = ctx.actions.declare_file(ctx.label.name + (".s" if ctx.attr.assembly else ".o"))
    arguments = ctx.actions.args()
    arguments.add_all(["-std=c++20", "-Wall", "-Wextra", "-Werror", "-S" if ctx.attr.assembly else "-c"])
    arguments.add_all(ctx.attr.copts)
    for context in contexts:
        arguments.add_all(context.defines, before_each = "-D")
        arguments.add_all(context.includes, before_each = "-I")
        arguments.add_all(context.quote_includes, before_each = "-iquote")
        arguments.add_all(context.system_includes, before_each = "-isystem")
    arguments.add(ctx.file.src)
    arguments.add("-o", output)
    ctx.actions.run_shell(
        command = ctx.attr.compiler + " \"$@\"",
        arguments = [arguments],
        inputs = depset([ctx.file.src], transitive = [context.headers for context in contexts]),
        outputs = [output],
        mnemonic = "ForeignCompile",
        progress_message = "Compiling %s with %s" % (ctx.label.name, ctx.attr.compiler),
        use_default_shell_env = True,  # finds the compiler on PATH
    )
    return [DefaultInfo(
        files = depset([output]),
        runfiles = ctx.runfiles([output]),
    )]

object_file = rule(
    implementation = _object_file_impl,
    attrs = {
        "assembly": attr.bool(doc = "stop at assembly text, which a test can read"),
        "compiler": attr.string(mandatory = True, doc = "a program on PATH, such as g++-12, and options that always go with it"),
        "copts": attr.string_list(),
        "deps": attr.label_list(providers = [CcInfo]),
        "src": attr.label(
            allow_single_file = [".cc"],
            mandatory = True,
        ),
    },
)
