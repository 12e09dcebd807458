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


def is_withdrawal(error: BaseException) -> bool:
    """Whether `error`, caught in a coroutine, is the cancellation of the task that runs here."""
    if not isinstance(error, asyncio.CancelledError):
        return False
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def begin_at_template(error: BaseException) -> BaseException:
    """The same error; its traceback begins with the first frame that is not ours, and is empty where there is none."""
    found: TracebackType | None = error.__traceback__
    while found is not None and _is_ours(found.tb_frame):
        found = found.tb_next
    return error.with_traceback(found)


def stack_of(thread: int) -> str:
    """Where a thread is now, from its first frame that is not ours on, the innermost last; empty where it has ended."""
    frames: list[FrameType] = []
    frame = sys._current_frames().get(thread)
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    theirs = next((at for at in reversed(range(len(frames))) if not _is_ours(frames[at])), -1)
    lines = [traceback.FrameSummary(f.f_code.co_filename, f.f_lineno or 0, f.f_code.co_name) for f in frames]
    return "".join(traceback.StackSummary.from_list(lines[: theirs + 1][::-1]).format())


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0] in OURS
