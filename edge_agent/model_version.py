"""A model version, as all of the agent names it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Version:
    """Full name and digest."""

    name: str
    digest: str


NO_VERSION = Version("", "")
"""What a monitor runs, and a process of which nothing is known any more."""
