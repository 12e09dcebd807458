"""The platform's version, of which pyproject.toml takes note.

Asking the installation for it reads the metadata of every distribution there is until ours is found: 10 ms.
"""

VERSION = "0.1.0"
