"""Where models run: in turns of the loop, on threads that are shared fairly, in tasks."""

import asyncio
import os
import threading
from collections.abc import Callable
from functools import partial

import pytest

from inference_host.serving import execution
from inference_host.serving.execution import Execution, InTasks, OnLoop, OnThreads
from inference_host.serving.threads import ModelThread
from inference_host.serving.turns import NICENESS


class Work:
    """Does what it is told, where it is told to."""

    def __init__(self, do: Callable[[], object] = lambda: None) -> None:
        self.do = do

    def perform(self) -> None:
        self.do()

    async def perform_on_loop(self, threads: Execution) -> None:
        self.do()
        await asyncio.Event().wait()


class Source:
    """Has some works, and notes what happens to them."""

    def __init__(self, *works: Work, name: str = "", notes: list[str] | None = None) -> None:
        self.works = list(works)
        self.under_way = 0
        self.finished: list[Work] = []
        self.settled = 0
        self.name = name
        self.notes = [] if notes is None else notes
        self.over = asyncio.Event()

    def next(self) -> Work | None:
        if not self.works:
            return None
        self.under_way += 1
        self.notes.append(self.name)
        return self.works.pop(0)

    def finish(self, work: Work) -> None:
        self.under_way -= 1
        self.finished.append(work)

    def settle(self) -> None:
        self.settled += 1
        if not self.works and not self.under_way:
            self.over.set()


def test_on_the_loop_all_that_there_is_runs_in_the_next_turn_and_is_settled_once() -> None:
    async def scenario() -> None:
        works = [Work() for _ in range(3)]
        source = Source(*works)
        runner = OnLoop(source, asyncio.get_running_loop())
        runner.wake()
        runner.wake()
        assert source.finished == []
        await asyncio.sleep(0)
        await asyncio.sleep(0)  # the next turn is over
        assert (source.finished, source.settled) == (works, 1)
        await asyncio.sleep(0)
        assert source.settled == 1

    asyncio.run(scenario())


def test_the_loop_breathes_when_a_turn_has_lasted_long_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "INLINE_MAX_S", 0.0)

    async def scenario() -> None:
        notes: list[str] = []
        loop = asyncio.get_running_loop()
        sources = [Source(Work(), Work(), Work(), name=name, notes=notes) for name in "ab"]
        for source in sources:
            OnLoop(source, loop).wake()
        for source in sources:
            await source.over.wait()
        assert notes == ["a", "b"] * 3

    asyncio.run(scenario())


def test_threads_are_shared_fairly() -> None:
    async def scenario() -> None:
        notes: list[str] = []
        async with Execution(1) as threads:
            sources = [Source(*(Work() for _ in range(4)), name=name, notes=notes) for name in "abc"]
            for source in sources:
                OnThreads(source, threads).wake()
            for source in sources:
                await source.over.wait()
        assert notes == ["a", *["b", "c", "a"] * 3, "b", "c"]

    asyncio.run(scenario())


def test_no_more_runs_than_there_are_threads() -> None:
    async def scenario() -> None:
        gate, most = threading.Semaphore(0), [0]
        async with Execution(2) as threads:

            def do() -> None:
                most[0] = max(most[0], threads.running)
                gate.acquire()

            source = Source(*(Work(do) for _ in range(5)))
            OnThreads(source, threads).wake()
            assert (threads.running, source.under_way) == (2, 2)
            gate.release(5)
            await source.over.wait()
            assert (threads.running, most) == (0, [2])

    asyncio.run(scenario())


def test_what_is_asked_of_a_thread_comes_back_or_is_raised() -> None:
    def fail(error: Exception) -> None:
        raise error

    async def scenario() -> None:
        async with Execution(1) as threads:
            assert await threads.on_thread(lambda value: value + 1, 1) == 2
            assert await threads.aside(lambda value: value + 1, 1) == 2
            with pytest.raises(ZeroDivisionError):
                await threads.on_thread(fail, ZeroDivisionError())
            with pytest.raises(RuntimeError):  # no future could carry it
                await threads.on_thread(fail, StopIteration())

    asyncio.run(scenario())


def test_an_errand_that_nobody_waits_for_does_not_begin() -> None:
    async def scenario() -> None:
        gate, begun = threading.Event(), threading.Event()
        async with Execution(1) as threads, asyncio.TaskGroup() as tasks:
            first = tasks.create_task(threads.on_thread(lambda _: gate.wait(), None))
            second = tasks.create_task(threads.on_thread(lambda _: begun.set(), None))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            second.cancel()
            gate.set()
            await first
        assert not begun.is_set()

    asyncio.run(scenario())


def test_loading_takes_no_thread_from_models_that_serve() -> None:
    async def scenario() -> None:
        gate = threading.Event()
        async with Execution(1) as threads, asyncio.TaskGroup() as tasks:
            held = tasks.create_task(threads.aside(lambda _: gate.wait(), None))
            await asyncio.sleep(0)
            assert await threads.on_thread(str, 1) == "1"
            gate.set()
            await held

    asyncio.run(scenario())


def test_tasks_are_bounded_and_their_ends_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(InTasks, "slots", 2)

    async def scenario() -> None:
        async with Execution(1) as threads:
            works = [Work() for _ in range(3)]
            source = Source(*works)
            runner = InTasks(source, threads)
            runner.wake()
            assert source.under_way == 2
            runner.abandon(works[0])
            runner.abandon(works[1])  # before it began
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert source.finished == works[:2]
            assert source.under_way == 1

    asyncio.run(scenario())


def test_leaving_ends_tasks_and_does_not_wait_for_threads() -> None:
    async def scenario() -> None:
        gate = threading.Event()
        async with Execution(1) as threads:
            on_threads, in_tasks = Source(Work(gate.wait)), Source(Work())
            OnThreads(on_threads, threads).wake()
            InTasks(in_tasks, threads).wake()
        assert threads.running == 1
        assert len(in_tasks.finished) == 1
        gate.set()

    asyncio.run(scenario())


def test_threads_do_one_thing_after_the_other_and_give_way_to_event_loops() -> None:
    done: list[int] = []
    over = threading.Event()
    worker = ModelThread("model")
    for number in range(3):
        worker.take(partial(done.append, number))
    worker.take(lambda: done.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id())))
    worker.take(over.set)
    worker.stop()
    assert over.wait(10)
    assert done == [0, 1, 2, NICENESS]
