"""xApps under way: a steady load whose every call is counted."""

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import numpy as np

import waypost
from tests.waiting import wait_until

CALLERS = 4
PACE_S = 0.02  # 50 calls a second each


@dataclass
class Load:
    """Threads calling a position through the SDK until the block ends."""

    gateway: str
    position: str
    token: str
    answers: Counter[str] = field(default_factory=Counter)
    """Calls by the model version that answered."""
    failures: list[str] = field(default_factory=list)
    failed_s: list[float] = field(default_factory=list)
    """When the calls that failed had begun, on the monotonic clock."""
    wrong: list[str] = field(default_factory=list)
    scales: dict[str, float] = field(default_factory=dict)
    """What each version multiplies its input by: every answer is checked against the version it names."""
    callers: int = CALLERS

    def __enter__(self) -> Self:
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(n,)) for n in range(self.callers)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=30)

    @property
    def total(self) -> int:
        return sum(self.answers.values())

    def wait_for(self, more: int) -> None:
        """Until so many more calls were answered."""
        goal = self.total + more
        wait_until(
            lambda: self.total,
            lambda total: total >= goal,
            what=f"{more} more answers, {goal} in all",
            more=lambda: f"failures: {self.failures[-3:]}",
        )

    def _call(self, number: int) -> None:
        with waypost.connect(self.gateway, position=self.position, token=self.token) as position:
            n = 0
            while not self._stop.wait(PACE_S):
                n += 1
                began_s = time.monotonic()
                x = np.full((1, 4), number * 1000 + n, np.float32)
                try:
                    answer = position.infer(x, timeout=10.0)
                except waypost.MeshError as error:
                    self.failures.append(repr(error))
                    self.failed_s.append(began_s)
                    continue
                self._check(x, answer)

    def _check(self, x: "np.ndarray[tuple[int, ...], np.dtype[np.float32]]", answer: "waypost.Answer") -> None:
        self.answers[answer.model_version] += 1
        expected = x * self.scales[answer.model_version] + 1.0
        if not np.array_equal(answer.output, expected):
            self.wrong.append(f"{answer.model_version}: {answer.output} is not {expected}")
