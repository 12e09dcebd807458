import sys

from inference_host.app import main

sys.exit(main(sys.argv[1:]))
