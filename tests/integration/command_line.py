"""`waypost` as a process of the tests' own Python, wherever that has put its scripts."""

import sys

WAYPOST = (sys.executable, "-c", "import sys; from console.cli import main; sys.exit(main())")
