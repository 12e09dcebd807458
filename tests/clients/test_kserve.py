"""KServe's clients, which ask for other versions of nearly everything than we do: in the benchmark's environment."""

import re
import subprocess

from tests.bench.build import CACHE
from tests.bench.environments import CannotInstall, environment
from tests.bench.servers import KSERVE, PEERS_DIR
from tests.clients.conftest import Place
from tests.wire.tools import missing

PROGRAM = PEERS_DIR / KSERVE.name / "client.py"
CLIENT_S = 120.0
WORKS = re.findall(r"async def ((?:rest|grpc)_\w+|text|halves|deadline)\(self\)", PROGRAM.read_text())
BY_HAND_ONLY = {"text", "halves", "deadline"}


def test_kserves_clients_work(place: Place) -> None:
    try:
        python = environment(CACHE, PROGRAM.with_name("requirements.txt"), KSERVE.python)
    except CannotInstall as why:
        missing(f"kserve cannot be installed: {why}")
    argv = [str(python), str(PROGRAM), place.address, place.affine, *([place.token] if place.token else [])]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=CLIENT_S)
    expected = [f"ok {name}" for name in WORKS if place.by_hand or name not in BY_HAND_ONLY]
    assert done.stdout.splitlines() == expected, done.stdout + done.stderr
