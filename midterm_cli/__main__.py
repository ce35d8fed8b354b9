"""`python -m midterm_cli` is `midterm`."""

import sys

from midterm_cli.cli import main

sys.exit(main())
