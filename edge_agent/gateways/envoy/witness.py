"""Asks the threads that carry calls what they carry by.

Envoy's main thread takes files in and answers for them; its worker threads get every change as a message, in order,
and look at it when they next come round. On a busy machine that may be some milliseconds after the main thread said
that all is live: long enough for a call to reach a host which was just taken out, and which is told to end. So, last
of all, each table comes with a word that is served on a socket of our own: a worker which says the new word has seen
all that was sent before it.
"""

import asyncio
import http.client
import time
from contextlib import ExitStack, closing
from pathlib import Path

from edge_agent.gateways.envoy.unix_http import UnixConnection

LOOK_AGAIN_S = 0.001  # usually the second look is the last


class Witness:
    def __init__(self, path: Path, threads: int) -> None:
        self._path = path
        self._threads = threads

    async def all_say(self, word: str, within_s: float) -> bool:
        """Whether every worker says this word before so many seconds have passed.

        Raises: OSError where one does not answer.
        """
        return await asyncio.to_thread(self._all_say, word, time.monotonic() + within_s)

    def _all_say(self, word: str, deadline: float) -> bool:
        with ExitStack() as stack:
            # Open at the same time, they are spread evenly: one for each worker (listeners.py, exact_balance).
            connections = [stack.enter_context(closing(UnixConnection(self._path))) for _ in range(self._threads)]
            for connection in connections:
                connection.connect()
            return all(_says(connection, word, deadline) for connection in connections)


def _says(connection: UnixConnection, word: str, deadline: float) -> bool:
    try:
        while connection.ask("GET", "/") != word:
            if time.monotonic() > deadline:
                return False
            time.sleep(LOOK_AGAIN_S)
    except http.client.HTTPException as error:
        raise ConnectionError(f"the witness broke off: {error!r}") from error
    return True
