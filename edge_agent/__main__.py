import sys

from edge_agent.app import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
