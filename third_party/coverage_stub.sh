#!/bin/bash
# Bazel wants a coverage merger for every cc_test, also when no coverage is asked for, and would download one. This stands in its place.
echo "coverage is not set up in this workspace: third_party/coverage_stub.sh takes the merger's place" >&2
exit 1
