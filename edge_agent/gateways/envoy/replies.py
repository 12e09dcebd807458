"""PURE: what a caller reads when the gateway itself has to answer.

HTTP callers get `{"error": "..."}`, as Open Inference Protocol clients expect it, gRPC callers a status. The codes
keep one promise of the whole mesh: UNAVAILABLE (503) means that the call was not executed. A host that ends while it
works on a call is therefore INTERNAL (502): whether it ran, nobody knows.
"""

from dataclasses import dataclass

from edge_agent.gateways.envoy.typed import Json


@dataclass(frozen=True, slots=True)
class Refusal:
    """A kind of failure."""

    flags: tuple[str, ...]
    """Envoy's response flags, any of which tells it; none: `status` does."""
    status: int
    """HTTP status that Envoy itself chose."""
    http_status: int
    grpc_status: int
    text: str


_ADDRESSES = (
    "no position of this edge server is addressed: give its uid or name as header (gRPC: metadata) waypost-position, "
    "or its uid as authority <uid>.{domain} or path prefix /positions/<uid>; "
    "this call had waypost-position %REQ(WAYPOST-POSITION)%, authority %REQ(:AUTHORITY)%"
)
_PATHS = "nothing is served at %REQ(:PATH)%; a position serves the Open Inference Protocol (/v2) and xapp.v1 (/v1)"

REFUSALS = (
    Refusal(("NC",), 0, 404, 5, _ADDRESSES),
    Refusal(("NR",), 0, 404, 12, _PATHS),
    Refusal(("UH",), 0, 503, 14, "nobody answers at this position now; not executed, safe to retry"),
    Refusal(("UF",), 0, 503, 14, "the position's host cannot be reached; not executed, safe to retry"),
    Refusal(("UO", "OM"), 0, 503, 14, "too many calls at once; not executed, safe to retry"),
    Refusal(("UT", "DT", "UMSDR", "SI"), 0, 504, 4, "the position did not answer in time"),
    Refusal(("UC", "UR", "UPE"), 0, 502, 13, "the position's host ended during this call; it may have been executed"),
    Refusal((), 413, 413, 8, "the message is larger than {body_mib} MiB"),
)


def local_replies(domain: str, body_bytes_max: int) -> Json:
    """LocalReplyConfig: the first mapper that fits decides."""
    mappers = []
    for refusal in REFUSALS:
        text = refusal.text.format(domain=domain, body_mib=body_bytes_max >> 20)
        mappers += [_for_grpc(refusal, text), _for_http(refusal, text)]
    mappers.append({"filter": _GRPC, "body_format_override": _text("%LOCAL_REPLY_BODY%")})
    return {"mappers": mappers, "body_format": _error("%LOCAL_REPLY_BODY%")}


def _for_grpc(refusal: Refusal, text: str) -> Json:
    status = {"key": "grpc-status", "value": str(refusal.grpc_status)}
    return {
        "filter": {"and_filter": {"filters": [_cause(refusal), _GRPC]}},
        "headers_to_add": [{"header": status, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}],
        "body_format_override": _text(text),
    }


def _for_http(refusal: Refusal, text: str) -> Json:
    return {"filter": _cause(refusal), "status_code": refusal.http_status, "body_format_override": _error(text)}


def _cause(refusal: Refusal) -> Json:
    if refusal.flags:
        return {"response_flag_filter": {"flags": list(refusal.flags)}}
    value = {"default_value": refusal.status, "runtime_key": "waypost.status"}
    return {"status_code_filter": {"comparison": {"op": "EQ", "value": value}}}


def _header(name: str, **match: object) -> Json:
    return {"header_filter": {"header": {"name": name, **match}}}


# A call that came as JSON looks like gRPC behind the transcoder, but for the path that it leaves.
_GRPC = {
    "and_filter": {
        "filters": [
            _header("content-type", string_match={"prefix": "application/grpc"}),
            _header("x-envoy-original-path", present_match=False),
        ]
    }
}


def _text(text: str) -> Json:
    return {"text_format_source": {"inline_string": text}}


def _error(text: str) -> Json:
    return {"json_format": {"error": text}}
