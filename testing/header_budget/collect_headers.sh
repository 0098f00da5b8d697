# collect_headers.sh: for tests that compile against our headers as a consumer does. Sourced.
#
# Bazel lays each header out below a folder _virtual_includes/TARGET; here they come together in a new folder, of which `work` is the name.
work=$(mktemp -d "$TEST_TMPDIR/headers.XXXXXX")
find -L . -path '*/_virtual_includes/*/quiesce/*.h' | while read -r header; do
  to=$work/quiesce/${header##*/_virtual_includes/*/quiesce/}
  mkdir -p "$(dirname "$to")"
  ln -sf "$PWD/$header" "$to"
done
