"""What `import waypost` gives, and what it costs."""

import subprocess
import sys

import pytest

import waypost


def test_every_public_name_is_there():
    for name in waypost.__all__:
        assert getattr(waypost, name) is not None
    assert dir(waypost) == sorted(waypost.__all__)


def test_a_name_that_is_not_public_is_not_there():
    with pytest.raises(AttributeError, match="infer"):
        _ = waypost.infer


def test_errors_and_status_come_without_numpy_and_grpc():
    code = (
        "import sys, waypost.errors, waypost.names; from waypost.rpc import to_status; "
        "sys.exit(not {'numpy', 'grpc'}.isdisjoint(sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
