"""``python -P -m gateway``: the same as the console script ``linegate``."""

import sys

from gateway.cli import main

sys.exit(main())
