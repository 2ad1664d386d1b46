"""`python -m comfyd_handler`."""

import sys

from .main import main

# The SDK's heartbeat is a process of its own, which may import this module again.
if __name__ == "__main__":
    sys.exit(main())
