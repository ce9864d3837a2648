"""`python -m ludus`: the command line."""

import sys

from ludus.cli import main

sys.exit(main())
