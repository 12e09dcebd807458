"""How long an edge server has been alone, through restarts and whatever its clocks do."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.state.solitude import Moment, Since, Solitude
from waypost.errors import Exhausted

NOW = Moment("boot-1", 1000.0, 5_000_000.0)


class Agent:
    """What is written down, and the clocks."""

    def __init__(self) -> None:
        self.now = NOW
        self.page: Since | None = None
        self.start()

    def start(self) -> None:
        self.solitude = Solitude(self.page, self.keep, lambda: self.now)

    def keep(self, since: Since | None) -> None:
        self.page = None if since is None else Since.from_page(since.to_page())

    def after(self, seconds: float, *, boot: str = "boot-1", wall: float | None = None) -> None:
        wall_s = self.now.wall_s + (seconds if wall is None else wall)
        boottime_s = self.now.boottime_s + seconds if boot == self.now.boot else 5.0
        self.now = Moment(boot, boottime_s, wall_s)


def test_nobody_is_alone_while_the_control_plane_is_there() -> None:
    agent = Agent()
    agent.solitude.changed(connected=True)
    agent.after(100.0)
    assert agent.solitude.seconds == 0.0
    agent.solitude.changed(connected=False)
    agent.after(7.0)
    assert agent.solitude.seconds == 7.0


def test_an_agent_that_has_never_heard_anybody_is_alone_since_its_start() -> None:
    agent = Agent()
    agent.after(3.0)
    assert agent.solitude.seconds == 3.0


def test_the_time_goes_on_through_restarts_of_the_agent_whatever_the_wall_clock_says() -> None:
    agent = Agent()
    agent.after(10.0)
    agent.start()
    agent.after(10.0, wall=-3600.0)
    agent.start()
    agent.after(10.0, wall=7200.0)
    assert agent.solitude.seconds == 30.0


def test_across_boots_the_wall_clock_is_all_there_is_and_time_never_runs_backwards() -> None:
    agent = Agent()
    agent.after(10.0)
    agent.start()
    agent.after(60.0, boot="boot-2")
    agent.start()
    assert agent.solitude.seconds == 70.0
    agent.after(20.0)
    agent.solitude.note()
    agent.after(60.0, boot="boot-3", wall=-100.0)
    agent.start()
    assert agent.solitude.seconds == 90.0


@given(
    st.lists(st.tuples(st.sampled_from(["after", "start", "reboot", "lost"]), st.floats(0, 1e5), st.floats(-1e6, 1e6)))
)
def test_it_never_gets_less_before_the_control_plane_is_heard(steps: list[tuple[str, float, float]]) -> None:
    agent, boots, before = Agent(), 1, 0.0
    for what, seconds, wall in steps:
        match what:
            case "after":
                agent.after(seconds, boot=agent.now.boot, wall=wall)
            case "start":
                agent.start()
            case "reboot":
                boots += 1
                agent.solitude.note()
                agent.after(seconds, boot=f"boot-{boots}", wall=wall)
                agent.start()
            case _:
                agent.solitude.changed(connected=False)
        assert agent.solitude.seconds >= before - 1e-6
        before = agent.solitude.seconds


def test_hearing_the_control_plane_twice_writes_once() -> None:
    agent = Agent()
    agent.solitude.changed(connected=True)
    assert agent.page is None
    agent.page = Since(replace(NOW, boot="untouched"))
    agent.solitude.changed(connected=True)
    assert agent.page is not None


def test_a_full_disk_keeps_no_agent_from_starting_and_the_time_is_counted_in_memory() -> None:
    def refuse(since: Since | None) -> None:
        raise Exhausted("DISK_FULL", "no space left")

    agent = Agent()
    agent.after(10.0)
    agent.solitude = Solitude(agent.page, refuse, lambda: agent.now)
    agent.after(5.0)
    assert agent.solitude.seconds == 15.0
