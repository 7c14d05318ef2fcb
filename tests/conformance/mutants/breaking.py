"""Which rule is to be broken."""

import os


def broken(rule: str) -> bool:
    return os.environ.get("MUTANT") == rule
