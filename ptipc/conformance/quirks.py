"""What real programs are known to do otherwise than the cases say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from attrs import frozen

from ptipc.conformance.cases import fixtures_directory
from ptipc.conformance.fixtures import read

__all__ = ["Quirk", "known", "quirks"]


@frozen(kw_only=True)
class Quirk:
    """One case that one version of a program deviates from."""

    program: str
    version: str
    case: str
    """The id of the case."""
    observed: str
    """``accepts``, ``rejects``, ``differs`` or ``dies``."""
    does: str
    """What the program does, in a sentence."""
    why: str = ""
    evidence: str
    """``run``: it was seen.  ``source``: its source says so."""
    dialects: tuple[str, ...] = ()
    """The editions in which it does so; none: all of the case."""


def quirks(directory: Path | None = None) -> tuple[Quirk, ...]:
    """All that are known, program by program.  Raises OSError, LookupError or ValueError."""
    found: list[Quirk] = []
    for path in sorted(((directory or fixtures_directory()) / "quirks").glob("*.json")):
        document = read(path)
        for case, quirk in document["cases"].items():
            found.append(
                Quirk(
                    program=document["program"],
                    version=document["version"],
                    case=case,
                    **{**quirk, "dialects": tuple(quirk.get("dialects", ()))},
                )
            )
    return tuple(found)


def known(
    quirks: Iterable[Quirk], command: Sequence[str], case: str, dialect: str, version: str = ""
) -> str:
    """What is known of the program in a command when it deviates from a case, in words, if it is.

    A program is known by the name of its file.  If its version is known, what is known of just that
    one is told; or else what is known of others, and that this one is another.
    """
    names = {Path(word).name.removesuffix(".exe") for word in command}
    found = [
        quirk
        for quirk in quirks
        if quirk.case == case
        and quirk.program in names
        and (not quirk.dialects or dialect in quirk.dialects)
    ]
    same = [quirk for quirk in found if quirk.version == version]
    other = f" (this is {version})" if version and not same else ""
    return "; ".join(
        f"known of {quirk.program} {quirk.version}{other}: {quirk.does}" for quirk in same or found
    )
