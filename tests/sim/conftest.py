"""`--seeds N` runs N seeds from 0, `--seed S` only that one."""

import pytest

SEEDS_DEFAULT = 200  # about ten seconds


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seeds", type=int, default=SEEDS_DEFAULT, help="how many seeds each simulation runs")
    parser.addoption("--seed", type=int, default=None, help="the one seed to replay")


@pytest.fixture
def seeds(request: pytest.FixtureRequest) -> list[int]:
    one = request.config.getoption("--seed")
    return list(range(request.config.getoption("--seeds"))) if one is None else [one]
