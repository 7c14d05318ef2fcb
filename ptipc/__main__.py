"""``python -m ptipc`` is the ``ptipc`` command."""

from __future__ import annotations

import sys

from ptipc.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
