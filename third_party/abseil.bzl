"""Which of Abseil's targets the overlay offers, and the pkg-config module behind each (none: headers only). Names are upstream's."""

ABSEIL_TARGETS = {
    "absl/algorithm": ["container="],
    "absl/base": [
        "base=absl_base",
        "config=",
        "core_headers=",
        "dynamic_annotations=",
        "endian=",
        "log_severity=absl_log_severity",
        "prefetch=",
    ],
    "absl/cleanup": ["cleanup="],
    "absl/container": [
        "btree=absl_btree",
        "fixed_array=absl_fixed_array",
        "flat_hash_map=absl_flat_hash_map",
        "flat_hash_set=absl_flat_hash_set",
        "inlined_vector=absl_inlined_vector",
        "node_hash_map=absl_node_hash_map",
        "node_hash_set=absl_node_hash_set",
    ],
    "absl/debugging": [
        "failure_signal_handler=absl_failure_signal_handler",
        "stacktrace=absl_stacktrace",
        "symbolize=absl_symbolize",
    ],
    "absl/flags": [
        "flag=absl_flags",
        "parse=absl_flags_parse",
        "usage=absl_flags_usage",
    ],
    "absl/functional": [
        "any_invocable=absl_any_invocable",
        "bind_front=",
        "function_ref=",
    ],
    "absl/hash": ["hash=absl_hash"],
    "absl/memory": ["memory="],
    "absl/meta": ["type_traits="],
    "absl/numeric": [
        "bits=",
        "int128=absl_numeric",
    ],
    "absl/random": [
        "bit_gen_ref=absl_random_bit_gen_ref",
        "distributions=absl_random_distributions",
        "random=absl_random_random",
        "seed_sequences=absl_random_seed_sequences",
    ],
    "absl/status": [
        "status=absl_status",
        "statusor=absl_statusor",
    ],
    "absl/strings": [
        "cord=absl_cord",
        "str_format=absl_str_format",
        "strings=absl_strings",
    ],
    "absl/synchronization": ["synchronization=absl_synchronization"],
    "absl/time": ["time=absl_time"],
    "absl/types": [
        "optional=absl_optional",
        "span=absl_span",
        "variant=absl_variant",
    ],
    "absl/utility": ["utility="],
}
