"""The rule sets that Bazel itself loads, from Debian's packages instead of the network.

Bazel 4.2.3 defines rules_cc, rules_java, rules_proto and remote_coverage_tools as downloads in the suffix of every WORKSPACE, but only where the
WORKSPACE has not defined them; so defining them here keeps even the first build off the network.
"""

def _undefined(name):
    return not native.existing_rule(name)

# buildifier: disable=unnamed-macro
def quiesce_rule_sets():
    """Defines Debian's rule sets under their canonical names, each only if the workspace has not defined it yet."""
    for name, path in {
        "bazel_skylib": "/usr/share/bazel/tools/skylib",
        "platforms": "/usr/share/bazel/platforms",
        "rules_java": "/usr/share/bazel/rules/java",
        "rules_proto": "/usr/share/bazel/rules/proto",
    }.items():
        if _undefined(name):
            native.local_repository(name = name, path = path)
    if _undefined("rules_cc"):
        rules_cc_overlay(name = "rules_cc", path = "/usr/share/bazel/rules/cc")
    if _undefined("rules_shell"):
        rules_shell_overlay(name = "rules_shell")
    if _undefined("remote_coverage_tools"):
        coverage_tools_stub(name = "remote_coverage_tools")

def _rules_cc_overlay_impl(rctx):
    """Debian's rules_cc, file by file a link, but for two files that do not load on Debian's own Bazel, plus the load paths of newer rules_cc."""
    root = rctx.path(rctx.attr.path)
    for child in root.readdir():
        if child.basename not in ["cc", "WORKSPACE", "MODULE.bazel"]:
            rctx.symlink(child, child.basename)
    for child in root.get_child("cc").readdir():
        if child.basename != "private":
            rctx.symlink(child, "cc/" + child.basename)
    private = root.get_child("cc").get_child("private")
    for child in private.readdir():
        if child.basename != "rules_impl":
            rctx.symlink(child, "cc/private/" + child.basename)

    # rules_cc 0.0.4 loads use_cpp_toolchain, which Bazel 4.2.3 lacks; what it would return can be written out.
    for child in private.get_child("rules_impl").readdir():
        path = "cc/private/rules_impl/" + child.basename
        if child.basename in ["cc_flags_supplier.bzl", "compiler_flag.bzl"]:
            text = rctx.read(child)
            text = text.replace(", \"use_cpp_toolchain\")", ")")
            text = text.replace("use_cpp_toolchain()", "[\"@bazel_tools//tools/cpp:toolchain_type\"]")
            rctx.file(path, text)
        else:
            rctx.symlink(child, path)

    # One symbol for each file is how newer rules_cc is loaded.
    for rule in ["cc_library", "cc_binary", "cc_test", "cc_import"]:
        rctx.file("cc/%s.bzl" % rule, "load(\":defs.bzl\", _rule = \"{0}\")\n{0} = _rule\n".format(rule))

    # Two files, since a global of a .bzl file may not have the name of the builtin that it reads.
    rctx.file("cc/common/BUILD.bazel", "")
    rctx.file("cc/common/builtins.bzl", "info = CcInfo\ncommon = cc_common\n")
    rctx.file("cc/common/cc_info.bzl", "load(\":builtins.bzl\", \"info\")\nCcInfo = info\n")
    rctx.file("cc/common/cc_common.bzl", "load(\":builtins.bzl\", \"common\")\ncc_common = common\n")
    rctx.file("WORKSPACE", "workspace(name = \"rules_cc\")\n")

rules_cc_overlay = repository_rule(
    implementation = _rules_cc_overlay_impl,
    attrs = {"path": attr.string(doc = "where Debian installed rules_cc")},
    local = True,
)

def _rules_shell_overlay_impl(rctx):
    """Bazel 9 takes sh_test from @rules_shell; Bazel 4 has it built in."""
    rctx.file("WORKSPACE", "workspace(name = \"rules_shell\")\n")
    rctx.file("shell/BUILD.bazel", "")
    for rule in ["sh_binary", "sh_library", "sh_test"]:
        rctx.file("shell/%s.bzl" % rule, "def {0}(**kwargs):\n    native.{0}(**kwargs)\n".format(rule))

rules_shell_overlay = repository_rule(
    implementation = _rules_shell_overlay_impl,
    local = True,
)

def _coverage_tools_stub_impl(rctx):
    rctx.symlink(rctx.path(rctx.attr.merger), "coverage_stub.sh")
    target = "sh_binary(name = \"%s\", srcs = [\"coverage_stub.sh\"], visibility = [\"//visibility:public\"])\n"
    rctx.file("WORKSPACE", "workspace(name = \"remote_coverage_tools\")\n")
    rctx.file("BUILD.bazel", "".join([target % name for name in ["lcov_merger", "coverage_report_generator"]]))

coverage_tools_stub = repository_rule(
    implementation = _coverage_tools_stub_impl,
    attrs = {"merger": attr.label(default = Label("//third_party:coverage_stub.sh"))},
    local = True,
)
