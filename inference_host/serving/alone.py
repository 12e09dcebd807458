"""What cannot be had with several processes: whatever lives in the memory of one of them.

The processes of a host share an address and nothing else, and a connection belongs to whichever took it. So a caller
cannot say in which process a model is to be loaded, nor where the state of his sequence lies.
"""

from waypost.errors import Precondition


def require_one_process(processes: int, what: str) -> None:
    """what: begins the sentence, in the plural. Raises: Precondition(SEVERAL_PROCESSES)."""
    if processes > 1:
        raise Precondition(
            "SEVERAL_PROCESSES",
            f"{what} are known to one process only, and this host has {processes}",
            "start it with --processes 1, or leave that setting away",
        )
