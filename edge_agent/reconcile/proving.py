"""Proves one position by probe inferences through the gateway: again for each generation, for each version that joins
the route, and after the gateway was restarted. See probe.py for the call itself.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from edge_agent.failure import Failure
from edge_agent.position.picture import Proof
from edge_agent.position.samples import SAMPLES, SAMPLES_BYTES_MAX, probe_requests
from edge_agent.reconcile.probe import Probe, prove
from mesh.waiting import news_within
from waypost.api.control.v1.model_pb2 import ModelVersion
from waypost.api.inference.v1.inference_pb2 import ModelInferRequest
from waypost.errors import MeshError, Precondition

log = structlog.get_logger()

ATTEMPTS = 3  # in a row, before a failure is said: one may meet a route that is a moment behind
AGAIN_FIRST_S, AGAIN_MAX_S = 0.1, 5.0  # between attempts, doubling


@dataclass(frozen=True, slots=True)
class Subject:
    """What is to be proved, and how."""

    uid: str
    generation: int
    shapes: frozenset[str]
    gateway_restarts: int
    version: ModelVersion
    """Of which the request is made."""
    package: Path
    serve_as: str
    signing_key: Path

    def requests(self) -> list[ModelInferRequest]:
        """Raises: Precondition."""
        path = self.package / SAMPLES
        samples = None
        if path.is_file():
            if path.stat().st_size > SAMPLES_BYTES_MAX:
                raise Precondition("BAD_SAMPLES", f"{SAMPLES} is larger than {SAMPLES_BYTES_MAX} bytes")
            samples = path.read_bytes()
        return probe_requests(self.version.signature, samples, self.serve_as)


def _pause_s(failures: int) -> float:
    return min(AGAIN_MAX_S, AGAIN_FIRST_S * 2.0 ** min(failures - 1, 10))


class Proving:
    """One per position; `run` it beside the worker."""

    def __init__(self, probe: Probe, wake: Callable[[], None]) -> None:
        self._probe = probe
        self._wake = wake
        self._subject: Subject | None = None
        self._gateway_restarts = -1
        self._news = asyncio.Event()
        self.proof: Proof | None = None
        """None before the first success or the first lasting failure."""
        self.answered = ""
        """Digest of the version that answered last."""

    def assume(self, proof: Proof) -> None:
        """What was proved before the agent was started again: it holds until the next attempt says otherwise."""
        self.proof = proof

    def want(self, subject: Subject | None) -> None:
        """What is to be proved from now on. None: nobody gets calls, and what was proved says nothing any more."""
        if subject is None:
            self.proof = None
        if subject != self._subject:
            self._subject = subject
            self._news.set()

    async def run(self) -> None:
        failures = 0
        while True:
            self._news.clear()
            subject = self._subject
            if subject is None or self._proved(subject):
                failures = 0
                await self._news.wait()
                continue
            failures = await self._attempt(subject, failures)
            if failures:
                await news_within(self._news, _pause_s(failures))

    def _proved(self, subject: Subject) -> bool:
        proof = self.proof
        return (
            proof is not None
            and proof.failure is None
            and proof.generation == subject.generation
            and subject.shapes <= proof.shapes
            and self._gateway_restarts == subject.gateway_restarts
        )

    async def _attempt(self, subject: Subject, failures: int) -> int:
        """Failures in a row."""
        try:
            requests = await asyncio.to_thread(subject.requests)
            answer = await prove(self._probe, subject.uid, subject.signing_key, requests)
        except MeshError as error:
            if failures + 1 >= ATTEMPTS:
                self._fail(error)
            return failures + 1
        log.info("position_proved", uid=subject.uid, generation=subject.generation, digest=answer.digest)
        self.proof = Proof(subject.generation, subject.shapes)
        self.answered, self._gateway_restarts = answer.digest, subject.gateway_restarts
        self._wake()
        return 0

    def _fail(self, error: MeshError) -> None:
        failure = Failure(error.reason, f"a probe inference through the gateway failed: {error.message}", error.hint)
        if self.proof is None or self.proof.failure != failure:
            log.warning("proof_failed", reason=error.reason, why=error.message)
            self.proof = replace(self.proof or Proof(0, frozenset()), failure=failure)
            self._wake()
