"""``python -m cospine.cli``."""

import sys

from cospine.cli.main import main

sys.exit(main())
