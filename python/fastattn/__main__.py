"""`python -m fastattn` is `fastattn`."""

import sys

from .cli import main

sys.exit(main())
