"""h2spec, the conformance suite for HTTP/2 and HPACK (RFC 7540, RFC 7541), against our server."""

import re
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

from tests.wire import tools

PACKAGE = "github.com/summerwind/h2spec/cmd/h2spec"
SUITE_S = 120.0
CASES_MIN = 145  # so many has the version that go.mod names

IN_THE_CLEAR = {
    "Sends invalid connection preface",  # is answered as HTTP/1.1: one port has both protocols
    "Sends a large size HEADERS frame that exceeds the SETTINGS_MAX_FRAME_SIZE",  # it does not exceed ours
}


def failures(address: str, report: Path, *flags: str) -> set[str]:
    """Names of the cases that failed."""
    host, _, port = address.rpartition(":")
    argv = [str(tools.go(PACKAGE)), "-h", host, "-p", port, "-o", "5", "-j", str(report), *flags]
    subprocess.run(argv, capture_output=True, timeout=SUITE_S)
    printable = re.sub(rb"[^\x09\x0a\x20-\x7e]", b"?", report.read_bytes())  # it quotes frames as they came
    cases = list(ET.fromstring(printable).iter("testcase"))
    assert len(cases) >= CASES_MIN
    return {case.get("classname", "") for case in cases if len(case)}  # a case that passed has nothing inside


def test_every_case_passes_with_tls(tls_echo: str, tmp_path: Path) -> None:
    assert failures(tls_echo, tmp_path / "report.xml", "-t", "-k") == set()


def test_in_the_clear_we_differ_where_we_say_so(echo: str, tmp_path: Path) -> None:
    assert failures(echo, tmp_path / "report.xml") == IN_THE_CLEAR
