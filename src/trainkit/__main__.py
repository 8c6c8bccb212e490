"""`python -m trainkit`."""

import sys

from trainkit.cli import main

if __name__ == "__main__":
    sys.exit(main())
