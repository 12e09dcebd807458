"""From nothing to ready: every step is waited for by its state, with a bound, and a failure shows who failed and why.

The steps are those that an operator would take by hand; nothing here is a back door. The control plane makes its CA and
its first token in its data directory; with these a context is written, and everything else goes through the API.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from console import contexts
from console.client import Client
from console.contexts import Context
from console.join import new_join_token
from console.kinds import EDGE_SERVER, PROJECT, SUBSCRIPTION, Resources
from console.local import ports
from console.local.choices import HOST, Choices, Ports
from console.local.components import Component, Layout, components
from mesh import clock
from mesh.files import write_atomically
from mesh.times import seconds
from waypost.api.control.v1.edge_server_pb2 import EdgeServer, EdgeServerState
from waypost.api.control.v1.platform_pb2 import GetPlatformRequest, GetPlatformResponse
from waypost.errors import AlreadyExists, DeadlineExceeded, NotFound, Precondition, Unavailable

READY_S = 45.0  # for each step; a slow machine with a cold disk has needed 8
LOOK_S = 0.05
CALL_S = 5.0  # of one question inside a wait; the next look asks again
STOP_S = 10.0  # of a component that is to run otherwise
LOG_LINES = 12  # of a component that failed: an error with its cause, and the end of a traceback
SUBSCRIPTION_ID = "local"

T = TypeVar("T")
Tell = Callable[[str, str, str], None]
"""Called when a component is ready: its title, where it listens, what was done."""


@dataclass(slots=True)
class Raised:
    """A platform that is ready, or on its way there."""

    context: Context
    components: tuple[Component, ...]
    training: str = ""
    """Directory of the training platform."""
    gateway: str = ""
    """`http://127.0.0.1:7680`."""
    started: list[Component] = field(default_factory=list)
    """Those that were not running before."""


def raise_platform(layout: Layout, choices: Choices, raised: Raised, tell: Tell) -> None:
    """Returns when everything is ready; `raised` is filled step by step. Raises: MeshError."""
    training, control_plane, agent = raised.components
    _refuse_taken_ports(layout, choices, raised.components)
    layout.training(choices).mkdir(parents=True, exist_ok=True)
    source, plane = _start(training, raised), _start(control_plane, raised)
    platform = _await_control_plane(layout, control_plane, raised)
    tell(control_plane.title, f"{raised.context.address} (API), {HOST}:{choices.ports.link} (agents)", plane)
    with Client(raised.context) as client:
        resources = Resources(client)
        server = _ensure_edge_server(resources, choices)
        _ensure_join_token(layout, client, server)
        asked_at = clock.now()
        edge = _start(agent, raised)
        _await(training, "to listen", lambda: ports.is_taken(choices.ports.training) or None)
        _ensure_subscription(layout, resources, choices)
        tell(training.title, f"{HOST}:{choices.ports.training}, serves {raised.training}", source)
        since = max(seconds(platform.start_time), asked_at if agent in raised.started else 0.0)
        server = _await(agent, "to connect", lambda: _connected(resources, server.name, since, choices.ports))
    layout.join_token.unlink(missing_ok=True)  # it is used up
    raised.gateway = server.status.gateway_address
    tell(agent.title, f"{choices.edge_server}, gateway at {raised.gateway}", edge)


def prepare(layout: Layout, choices: Choices) -> Raised:
    """Nothing raised yet."""
    context = Context(choices.context, f"{HOST}:{choices.ports.api}", "", "", str(layout.data_dir))
    return Raised(context, components(layout, choices), str(layout.training(choices)))


def _refuse_taken_ports(layout: Layout, choices: Choices, all_components: Sequence[Component]) -> None:
    running = {component.name for component in all_components if _runs_as_asked(component)}
    ports.refuse_taken((need for need in ports.needs(choices.ports) if need.component not in running), layout.data_dir)


def _runs_as_asked(component: Component) -> bool:
    return component.process.alive() and tuple(component.process.command()) == component.argv


def _start(component: Component, raised: Raised) -> str:
    """Starts the component unless it runs as asked; says which it was."""
    process = component.process
    if _runs_as_asked(component):
        return f"adopted (pid {process.pid()})"
    done = "started"
    if process.alive():
        asyncio.run(process.stop(STOP_S))
        done = "restarted with other settings"
    process.spawn(component.argv)
    raised.started.append(component)
    return done


def _await(component: Component, what: str, look: Callable[[], T | None]) -> T:
    """What `look` finds, as soon as it finds something.

    Raises: Precondition(COMPONENT_ENDED) where the component dies meanwhile, DeadlineExceeded(NOT_READY).
    """
    deadline = time.monotonic() + READY_S
    trouble = ""
    while time.monotonic() < deadline:
        try:
            if (found := look()) is not None:
                return found
        except (Unavailable, DeadlineExceeded, NotFound) as error:
            trouble = error.message
        if not component.process.alive():
            raise Precondition(
                "COMPONENT_ENDED",
                f"the {component.title} ended while it started{_last_words(component)}",
                _log_hint(component),
            )
        time.sleep(LOOK_S)
    why = f" ({trouble})" if trouble else ""
    message = f"the {component.title} failed {what} within {READY_S:g} s{why}{_last_words(component)}"
    raise DeadlineExceeded("NOT_READY", message, _log_hint(component))


def _last_words(component: Component) -> str:
    lines = component.process.tail(LOG_LINES).strip()
    return ". Its last lines:\n\n" + "\n".join(f"  {line}" for line in lines.splitlines()) if lines else ""


def _log_hint(component: Component) -> str:
    return f"its whole log is {component.process.directory / 'log'}"


def _await_control_plane(layout: Layout, control_plane: Component, raised: Raised) -> GetPlatformResponse:
    raised.context = _await(control_plane, "to make its credentials", lambda: _credentials(layout, raised.context))
    with Client(raised.context) as client:
        ask = partial(client.call, client.platform.GetPlatform, GetPlatformRequest(), timeout=CALL_S)
        platform = _await(control_plane, "to answer", ask)
    contexts.write(layout.context, raised.context)
    return platform


def _credentials(layout: Layout, context: Context) -> Context | None:
    """The context with the control plane's CA and first token, once it has made them."""
    try:
        ca_pem = (layout.control_plane / "ca.pem").read_text()
        token = (layout.control_plane / "admin.token").read_text().strip()
    except FileNotFoundError:
        return None
    return Context(context.name, context.address, ca_pem, token, context.data_dir)


def _ensure_edge_server(resources: Resources, choices: Choices) -> EdgeServer:
    server: EdgeServer = EDGE_SERVER.new(EDGE_SERVER.parse(choices.edge_server))
    server.description = "this machine"
    try:
        made: EdgeServer = resources.create(EDGE_SERVER, server)
    except AlreadyExists:
        made = resources.get(EDGE_SERVER, server.name)
    return made


def _ensure_join_token(layout: Layout, client: Client, server: EdgeServer) -> None:
    """A token for an agent that has never joined, or whose directory is gone; one that has joined needs none."""
    joined = server.status.state not in (
        EdgeServerState.EDGE_SERVER_STATE_UNSPECIFIED,
        EdgeServerState.EDGE_SERVER_STATE_PENDING,
    )
    if joined and (layout.edge / "identity" / "enrolment.json").exists():
        return
    made = new_join_token(client, server.name, clock.now())
    write_atomically(layout.join_token, made.secret.encode() + b"\n")


def _ensure_subscription(layout: Layout, resources: Resources, choices: Choices) -> None:
    """Follows the training platform. What cannot be changed in a subscription is changed by making it again."""
    wanted = SUBSCRIPTION.new(f"subscriptions/{SUBSCRIPTION_ID}")
    wanted.spec.endpoint = f"{HOST}:{choices.ports.training}"
    wanted.spec.project = PROJECT.parse(choices.project)
    wanted.spec.activation_token = (layout.training(choices) / ".waypost" / "activation.token").read_text().strip()
    try:
        current = resources.get(SUBSCRIPTION, wanted.name)
    except NotFound:
        resources.create(SUBSCRIPTION, wanted)
        return
    if (current.spec.endpoint, current.spec.project) != (wanted.spec.endpoint, wanted.spec.project):
        resources.delete(SUBSCRIPTION, wanted.name)
        resources.create(SUBSCRIPTION, wanted)


def _connected(resources: Resources, name: str, since: float, wanted: Ports) -> EdgeServer | None:
    """The edge server, once its agent has connected after `since` (wall clock) and told where its gateway is.

    What was said before may be of an agent that is no more.
    """
    server: EdgeServer = resources.get(EDGE_SERVER, name)
    status = server.status
    connected = status.state == EdgeServerState.EDGE_SERVER_STATE_CONNECTED
    fresh = status.connected_since_time.ToMilliseconds() >= since * 1000
    return server if connected and fresh and status.gateway_address.endswith(f":{wanted.gateway}") else None
