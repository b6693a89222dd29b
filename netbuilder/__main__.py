"""`python -m netbuilder` is the `netbuilder` command."""

import sys

from netbuilder.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
