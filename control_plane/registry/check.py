"""Asks the inference host whether a package can be served: `python -m inference_host check`, in a child of its own.

The control plane never loads a model. The child shuts itself in (no network, no files but the package's and a scratch
folder's, limits on memory and CPU, an empty environment), and what remains is ours to watch: that it may crash, hang,
or print without end. Where the kernel does not let it shut out our files, the tokens and keys in the data directory
among them, it refuses templates. One JSON object on its standard output is the verdict; anything else is INVALID too,
with what is known of the reason.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import structlog
from google.protobuf import json_format

from control_plane.artifacts.store import disk_explained
from mesh.files import remove_tree
from mesh.plain_text import is_reason, plain
from mesh.signals import signal_name
from waypost.api.control.v1.model_pb2 import Signature
from waypost.errors import Invalid, MeshError, Precondition, Unavailable

log = structlog.get_logger()

OUTPUT_BYTES_MAX = 1 << 20  # the verdict on a model of a thousand tensors has a tenth of it
COMPLAINT_CHARACTERS_MAX = 300  # of what a crashed child wrote last: enough for an error message
PASSED_ON = ("PYTHONPATH",)  # of the environment: the host is found where we were
TEXT_CHARACTERS_MAX = 4096  # of a verdict's message: a template's exception may quote a whole tensor


class PackageCheck:
    """timeout_s: wall clock for one package. allow_unconfined: checks templates also where they can use our files."""

    def __init__(self, timeout_s: float, *, allow_unconfined: bool = False) -> None:
        self._timeout_s = timeout_s
        self._how = "--open" if allow_unconfined else "--closed"

    async def __call__(self, package: Path) -> Signature:
        """What the model takes and gives.

        Raises Invalid with the host's reason, or CHECK_TIMED_OUT, CHECK_CRASHED; Precondition (CHECK_UNCONFINED);
        Unavailable (CHECK_NOT_STARTED), Exhausted (DISK_FULL). Its scratch folder lies beside the package meanwhile.
        """
        with disk_explained(package.parent):
            scratch = Path(tempfile.mkdtemp(prefix="scratch-", dir=package.parent))
        try:
            return await self._check(package, scratch)
        finally:
            await asyncio.to_thread(remove_tree, scratch)

    async def _check(self, package: Path, scratch: Path) -> Signature:
        child = await _start(package, scratch, self._how)
        assert child.stdout is not None
        assert child.stderr is not None
        try:
            async with asyncio.timeout(self._timeout_s):
                printed, complained = await asyncio.gather(_head(child.stdout), _tail(child.stderr))
                code = await child.wait()
        except TimeoutError as error:
            raise Invalid(
                "CHECK_TIMED_OUT",
                f"the check of the model took longer than {self._timeout_s:g} s",
                "try it with `waypost host check`; make it load faster, or raise check_timeout_s of the control plane",
            ) from error
        finally:
            await _end(child)
        return read_verdict(printed, code, complained)


def read_verdict(printed: bytes, code: int, complained: str = "") -> Signature:
    """The signature in the child's JSON. code: its exit code, negative for a signal.

    Whatever the child has loaded can write there, too: it may be anything. Raises Invalid, Precondition
    (CHECK_UNCONFINED).
    """
    try:
        verdict: dict[str, Any] = json.loads(printed)
        if not verdict["ok"]:
            raise _refusal(str(verdict["reason"]), str(verdict["message"]), str(verdict["hint"]))
        return _signature(verdict["signature"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError, json_format.ParseError) as error:
        how = f"by {signal_name(-code)}" if code < 0 else f"with code {code}"
        last = f"; it wrote last: {plain(complained, COMPLAINT_CHARACTERS_MAX)}" if complained else ""
        raise Invalid(
            "CHECK_CRASHED",
            f"the check of the model ended {how} and without a verdict{last}",
            "try it with `waypost host check`: a model that crashes its check would crash its host",
        ) from error


def _refusal(reason: str, message: str, hint: str) -> MeshError:
    """Raises ValueError where the reason is none: this was not written by the host."""
    if not is_reason(reason):
        raise ValueError("no reason")
    message, hint = plain(message, TEXT_CHARACTERS_MAX), plain(hint, TEXT_CHARACTERS_MAX)
    if reason == "CHECK_UNCONFINED":  # no fault of the version: it waits for another kernel or setting
        return Precondition("CHECK_UNCONFINED", message, hint)
    return Invalid(reason, message, hint)


def _signature(said: object) -> Signature:
    """Raises ValueError, TypeError, OverflowError, ParseError."""
    if not isinstance(said, dict):
        raise TypeError("no signature")
    return json_format.ParseDict(said, Signature(), ignore_unknown_fields=True)


async def _start(package: Path, scratch: Path, how: str) -> asyncio.subprocess.Process:
    """Raises Unavailable (CHECK_NOT_STARTED)."""
    try:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "inference_host", "check", str(package), str(scratch), how),
            cwd=scratch,
            env={name: os.environ[name] for name in PASSED_ON if name in os.environ},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise Unavailable("CHECK_NOT_STARTED", f"the check could not be started: {error}") from error


async def _head(stream: asyncio.StreamReader) -> bytes:
    """The first OUTPUT_BYTES_MAX; the rest is read and dropped, so that the child can end."""
    kept = b""
    while piece := await stream.read(1 << 16):
        kept += piece[: OUTPUT_BYTES_MAX - len(kept)]
    return kept


async def _tail(stream: asyncio.StreamReader) -> str:
    """The last thing written, on one line."""
    kept = b""
    while piece := await stream.read(1 << 16):
        kept = (kept + piece)[-4 * COMPLAINT_CHARACTERS_MAX :]
    return " ".join(kept.decode(errors="replace").split())[-COMPLAINT_CHARACTERS_MAX:]


async def _end(child: asyncio.subprocess.Process) -> None:
    """Nothing of the child's session outlives the check."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    await child.wait()
