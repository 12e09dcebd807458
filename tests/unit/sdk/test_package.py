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


def test_errors_and_channels_come_without_numpy():
    code = "import sys, waypost.errors, waypost.rpc, waypost.names; sys.exit('numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
