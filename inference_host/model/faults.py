"""The fence around a developer's code: whatever a template raises ends there, and hurts one request.

A step may raise anything: SystemExit because somebody called `sys.exit`, KeyboardInterrupt, a CancelledError of a task
of its own. All of it is the template's failure, with one exception: the cancellation of our own task, which says that
nobody waits any more.

The log gets the traceback from the template's first frame on. The frames above it are ours, the same every time, and
say nothing to whoever mends the template.
"""

import asyncio
import sys
import traceback
from types import FrameType, TracebackType

OURS = ("inference_host", "asyncio", "concurrent", "importlib", "threading")
"""Packages whose frames stand above a template's; what it calls itself stands below."""

CAUSES_MAX = 16  # of one error; a template can make a ring of them


def is_withdrawal(error: BaseException) -> bool:
    """Whether `error`, caught in a coroutine, is the cancellation of the task that runs here."""
    if not isinstance(error, asyncio.CancelledError):
        return False
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def begin_at_template(error: BaseException) -> BaseException:
    """The same error; its traceback begins with the first frame that is not ours, and is empty where there is none.

    Those of its causes too: Python puts a StopIteration that leaves a coroutine behind another error.
    """
    cause: BaseException | None = error
    for _ in range(CAUSES_MAX):
        if cause is None:
            break
        found: TracebackType | None = cause.__traceback__
        while found is not None and _is_ours(found.tb_frame):
            found = found.tb_next
        cause.__traceback__ = found
        cause = cause.__cause__
    return error


def stack_of(thread: int) -> str:
    """Where a thread is now, the innermost frame last: what the host's own frames have called, if they have."""
    theirs: list[traceback.FrameSummary] = []
    frame = sys._current_frames().get(thread)
    while frame is not None and _package(frame) != OURS[0]:
        theirs.append(traceback.FrameSummary(frame.f_code.co_filename, frame.f_lineno or 0, frame.f_code.co_name))
        frame = frame.f_back
    return "".join(traceback.StackSummary.from_list(theirs[::-1]).format())


def _is_ours(frame: FrameType) -> bool:
    return _package(frame) in OURS


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]
