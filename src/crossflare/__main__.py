"""`python -m crossflare` is the command `crossflare`."""

import sys

from crossflare.cli import main

if __name__ == "__main__":
    sys.exit(main())
