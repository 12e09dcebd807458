"""What is fuzzed, by the name of its folder in `corpus/`.

play(script)        raises where a promise is broken; the module says which promises, and what a script is
seeds()             scripts by what happens in them
SCRIPT_BYTES_MAX    of those that a fuzzer makes; longer ones only take longer
"""

from tests.fuzz import fuzz_hpack, fuzz_http1, fuzz_http2, fuzz_json, fuzz_messages, fuzz_oip

TARGETS = {
    "http2": fuzz_http2,
    "hpack": fuzz_hpack,
    "http1": fuzz_http1,
    "messages": fuzz_messages,
    "oip": fuzz_oip,
    "json": fuzz_json,
}
