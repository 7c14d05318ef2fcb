"""Is no transport process, and says so to people."""

import sys

sys.exit("usage: not_managed [--help]")
