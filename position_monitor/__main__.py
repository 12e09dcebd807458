"""`python -m position_monitor --settings FILE`."""

import sys

from position_monitor.app import main

sys.exit(main(sys.argv[1:]))
