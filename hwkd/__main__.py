"""`python -m hwkd`."""

import sys

from hwkd.cli.main import main

sys.exit(main())
