"""The data plane: what a host answers, on plain values and without any transport.

    face (gRPC, HTTP)     decodes bytes into a Call, encodes the Answer, carries MeshErrors
    DataPlane             finds the model, checks the call, submits it; tells the face when it is answered
      repository, served  which versions there are, and which way a call goes
      lane, batching      where it waits for its turn, and with whom it runs
      execution           where

A call must not cost more than a tiny model takes, so there is neither a task nor a future for it: `submit` takes a
callback and gives one. `infer` is the same for those who can wait. And what calls have in common is checked once: for
each form of a call, that is all of it but its id and its values, there is a `Plan`.

A model answers to its id and to the position's `serve_as`; its version is its id or empty. Whatever is wrong is a
MeshError whose class is the answer's code on every face: NotFound for names, Invalid for tensors, DeadlineExceeded for
a call that came or came out late, Unavailable for one that was never executed and is safe to repeat: the model does not
serve now, the queue is full, or it could not have been in time.
"""

import asyncio
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial

from inference_host.model.manifest import Package
from inference_host.serving.alone import require_one_process
from inference_host.serving.backlog import NEVER
from inference_host.serving.batching import AT_ONCE, Batching
from inference_host.serving.execution import Execution
from inference_host.serving.lifecycle import Lifecycle, worst
from inference_host.serving.loader import Warm
from inference_host.serving.meter import NOTHING, Counts, Meter
from inference_host.serving.plan import Plan
from inference_host.serving.repository import Packages, Repository, not_serving
from inference_host.serving.served import Lanes, Served
from inference_host.values.calls import (
    ID_CHARS_MAX,
    Answer,
    Call,
    Config,
    Done,
    Facts,
    IndexEntry,
    Metadata,
    Statistics,
    Withdraw,
    checked,
)
from inference_host.values.memo import Memo
from mesh import clock as wall
from mesh.measures import Measure, Measures
from waypost.errors import Denied, Invalid, MeshError, NotFound

SERVER_NAME = "waypost"
PLANS_MAX = 1024  # callers have one for each shape that they send
EXTENSIONS = (
    "binary_tensor_data",
    "model_configuration",
    "model_repository",
    "model_repository(unload_dependents)",
    "sequence",
    "sequence(string_id)",
    "statistics",
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a host serves. All empty for one that was started by hand."""

    position: str = ""
    """Full name."""
    position_uid: str = ""
    replica: str = ""
    serve_as: str = ""
    generation: int = 0
    """Of the position's spec; 0 until the monitor told."""
    processes: int = 1
    """That serve there."""

    @property
    def by_hand(self) -> bool:
        return not self.position_uid


class DataPlane:
    """Everything that a face may ask for. Made and used in the event loop."""

    def __init__(
        self,
        served: Sequence[Served],
        place: Place,
        execution: Execution,
        clock: Callable[[], float],
        batching: Batching = AT_ONCE,
        packages: Packages | None = None,
    ) -> None:
        """served: those that are warm already serve at once. clock: of deadlines, the event loop's.

        packages: reads what a host by hand may load; None where it may not.
        """
        self.clock = clock
        self.settled: Callable[[], object] = _nothing
        """Called when answers have been told, but for those that `submit` tells before it returns."""
        self._place = place
        self._execution = execution
        self._batching = batching
        self._meter = Meter(clock)
        self._repository = Repository(
            served, execution, self._meter, self._serve, serve_as=place.serve_as, packages=packages
        )
        self._plans: Memo[Hashable, Plan] = Memo(PLANS_MAX)
        for each in served:
            if each.warm is not None:
                self._open(each, each.warm)

    # -- calls

    def submit(self, call: Call, done: Done) -> Withdraw:
        """`done` hears the Answer or a MeshError once, at once or later, in the event loop; and not once withdrawn."""
        now = self.clock()
        arrived = now if call.arrived is None else call.arrived
        try:
            plan: Plan | None = call.form.plan if call.form is not None else None
            if plan is None or plan.way.lane is None:
                plan = self._plan(call)
            deadline = call.deadline if call.deadline is not None else NEVER
            place = None
            if call.parameters or len(call.id) > ID_CHARS_MAX:
                deadline = checked(call, deadline, arrived)
                place = plan.place(call)
        except MeshError as error:
            self._refuse(call, error, now - arrived)
            done(error)
            return _nothing
        lane, ask = plan.way.lane, plan.ask(call, deadline, done, arrived)
        if place is not None:
            ask.place = place
        assert lane is not None
        lane.submit(ask, now)
        return partial(lane.withdraw, ask)

    async def infer(self, call: Call) -> Answer:
        """Raises: MeshError. Cancelling it withdraws the call."""
        told: asyncio.Future[Answer | MeshError] = asyncio.get_running_loop().create_future()

        def done(outcome: Answer | MeshError) -> None:
            if not told.cancelled():
                told.set_result(outcome)

        withdraw = self.submit(call, done)
        try:
            outcome = await told
        finally:
            withdraw()
        if isinstance(outcome, MeshError):
            raise outcome
        return outcome

    @property
    def in_flight(self) -> int:
        """Calls that are to be answered."""
        return sum(lane.calls for served in self.served if served.lanes for lane in served.lanes.all)

    @property
    def waiting(self) -> int:
        """Those of them that do not run yet."""
        return sum(lane.waiting for served in self.served if served.lanes for lane in served.lanes.all)

    def _plan(self, call: Call) -> Plan:
        """Raises: NotFound, Unavailable, Invalid."""
        shapes = tuple([(tensor.name, tensor.datatype, tensor.array.shape) for tensor in call.inputs])
        key = (call.model, call.version, tuple(call.outputs), shapes)
        plan = self._plans.get(key)
        if plan is None or plan.way.lane is None:
            served = self._repository.find(call.model, call.version)
            if served.lanes is None or not served.life.serves:
                raise not_serving(served)
            plan = self._plans.remember(key, served.lanes.plan(call))
        if call.form is not None:
            call.form.plan = plan
        return plan

    def _refuse(self, call: Call, error: MeshError, took_s: float) -> None:
        """Counts it where it was going."""
        try:
            tally = self._repository.find(call.model, call.version).tally
        except NotFound:
            tally = self._meter.elsewhere
        tally.refused(error, took_s)

    # -- models

    @property
    def served(self) -> tuple[Served, ...]:
        """As it is now: loading by hand replaces it."""
        return self._repository.served

    def life(self) -> Lifecycle:
        """The host's as a whole."""
        return worst([served.life for served in self.served])

    def ready(self) -> bool:
        """Whether every model serves, and the next call that hangs would not hold up the others."""
        return self.life().serves and self._execution.healthy

    def model_ready(self, model: str, version: str) -> bool:
        """Raises: NotFound."""
        return self._repository.find(model, version).life.serves

    def metadata(self, model: str, version: str) -> Metadata:
        """Raises: NotFound, Unavailable(MODEL_NOT_READY) before the model is loaded."""
        return _metadata(self._repository.find(model, version))

    def config(self, model: str, version: str = "") -> Config:
        """How it is run. Raises: NotFound, Unavailable(MODEL_NOT_READY) before the model is loaded."""
        served = self._repository.find(model, version)
        metadata, lanes = _metadata(served), served.lanes
        assert lanes is not None
        together = lanes.batch_rows_max > 1
        return Config(
            metadata=metadata,
            batch_rows_max=lanes.batch_rows_max if together else 0,
            batch_delay_us=round(self._batching.delay_s * 1e6) if together else 0,
            instances=lanes.instances,
            sequences=served.warm.loaded.sequences if served.warm else None,
            file=served.package.model_file.name if served.package.model_file else "",
        )

    def statistics(self, model: str = "", version: str = "") -> list[Statistics]:
        """What was counted since each version was loaded; all versions where no name is given. Raises: NotFound."""
        found = [self._repository.find(model, version)] if model else self.served
        offset_s = wall.now() - self.clock()
        return [
            served.tally.statistics(served.package.model, served.package.version, monotonic_offset_s=offset_s)
            for served in found
        ]

    def take_counts(self) -> Counts:
        """What was counted on all versions since this was called last."""
        now, spent = self.clock(), NOTHING
        for served in self.served:
            for lane in served.lanes.all if served.lanes else ():
                spent = spent.plus(lane.spent(now))
        return self._meter.take([served.tally for served in self.served], spent)

    def take_measures(self) -> Measures:
        """What templates counted and measured themselves since this was called last, by name."""
        found: dict[str, Measure] = {}
        for served in self.served:
            if served.warm is not None:
                found.update(served.warm.loaded.metrics.take())
        return found

    def index(self, *, ready_only: bool) -> list[IndexEntry]:
        return self._repository.index(ready_only=ready_only)

    def facts(self, model: str, version: str) -> Facts:
        """Who answers, as the metadata or headers of a reply. Raises: NotFound."""
        return self._repository.find(model, version).facts

    def only_model(self) -> str:
        """Id of the one model of this host. Raises: Invalid(SEVERAL_MODELS)."""
        if len(self.served) != 1:
            names = ", ".join(served.package.model for served in self.served)
            raise Invalid(
                "SEVERAL_MODELS", f"this host serves several models: {names}", "name one in an inference call"
            )
        return self.served[0].package.model

    # -- their lives

    @property
    def place(self) -> Place:
        return self._place

    @place.setter
    def place(self, place: Place) -> None:
        """The position's generation changes while its host runs."""
        self._place = place
        for served in self.served:
            served.tell(_facts(served.package, place))

    @property
    def changed(self) -> Callable[[], None]:
        """Called when a model's state has changed."""
        return self._repository.changed

    @changed.setter
    def changed(self, changed: Callable[[], None]) -> None:
        self._repository.changed = self._execution.changed = changed

    async def bring_up(self, served: Served) -> MeshError | None:
        """Loads one of `served`, proves that it answers, and lets calls in. Returns why not, where it cannot."""
        return await self._repository.bring_up(served)

    async def load(self, model: str) -> None:
        """Reads `model` from the directory again; the version that serves does so until the new one can.

        Raises: Denied(NOT_FOR_XAPPS) at a position; Precondition(SEVERAL_PROCESSES); else as Repository.load.
        """
        self._refuse_change("load", model)
        await self._repository.load(model)

    async def unload(self, model: str) -> None:
        """Lets no calls in any more, and returns when those inside have been answered.

        Raises: Denied(NOT_FOR_XAPPS) at a position; Precondition(SEVERAL_PROCESSES); else as Repository.unload.
        """
        self._refuse_change("unload", model)
        await self._repository.unload(model)

    def drain(self) -> None:
        """Lets no calls in any more, for good."""
        self._repository.drain()

    def _refuse_change(self, verb: str, model: str) -> None:
        if not self._place.by_hand:
            hint = "an operator changes the model of a position: `waypost deploy MODEL_VERSION --position NAME`"
            raise Denied("NOT_FOR_XAPPS", f"xApps may not {verb} models ({model!r})", hint)
        require_one_process(self._place.processes, "models that are loaded and unloaded by hand")

    def _serve(self, served: Served, warm: Warm) -> None:
        """Raises: Precondition(SEVERAL_PROCESSES)."""
        if warm.loaded.sequences is not None:
            require_one_process(self._place.processes, "sequences")
        self._open(served, warm)
        served.life = served.life.ready()

    def _open(self, served: Served, warm: Warm) -> None:
        served.warm = warm
        served.lanes = Lanes(warm, served.tally, self._execution, self._batching, self.clock, self._settle)
        served.tell(_facts(served.package, self._place))

    def _settle(self) -> None:
        self.settled()


def _metadata(served: Served) -> Metadata:
    if served.warm is None:
        raise not_serving(served)
    platform = "template" if served.package.template_class else "onnxruntime_onnx"
    return Metadata(served.package.model, served.package.version, platform, served.warm.loaded.signature)


def _facts(package: Package, place: Place) -> Facts:
    return (
        ("waypost-model-version", package.full_name),
        ("waypost-model-digest", package.digest),
        ("waypost-position-generation", str(place.generation)),
        ("waypost-replica", place.replica),
    )


def _nothing() -> None: ...
