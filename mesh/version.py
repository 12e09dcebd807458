"""The platform's version, as pyproject.toml has it (tests/unit/test_dependencies.py).

Asking the installation for it reads the metadata of every distribution there is until ours is found: 10 ms.
"""

VERSION = "0.1.0"
