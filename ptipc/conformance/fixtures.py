"""The collection of fixtures as a whole: its index, and copies of it."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

from ptipc.conformance.cases import KINDS, LEVELS
from ptipc.core.dialects import DIALECTS

__all__ = ["case_files", "copy", "index", "index_text", "read"]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    repeated = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
    if repeated:
        raise ValueError(f"repeated keys: {', '.join(repeated)}")
    return dict(pairs)


def read(path: Path) -> Any:
    """The content of a JSON file; raises OSError or ValueError, for repeated keys as well."""
    return json.loads(path.read_bytes().decode("utf-8"), object_pairs_hook=_unique)


def case_files(directory: Path) -> list[Path]:
    """The files with cases, kind by kind."""
    return [path for kind in KINDS for path in sorted((directory / kind).glob("*.json"))]


# --- the index ------------------------------------------------------------------------------------


def index(directory: Path) -> dict[str, Any]:
    """What ``index.json`` has to say.  Raises OSError, LookupError or ValueError for bad files."""
    files: dict[str, Any] = {}
    cases: dict[str, Any] = {}
    levels = {kind: Counter[str]() for kind in KINDS}
    dialects: Counter[str] = Counter()
    for path in case_files(directory):
        document = read(path)
        name = path.relative_to(directory).with_suffix("").as_posix()
        files[name] = {
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "cases": len(document["cases"]),
        }
        for case in document["cases"]:
            cases[case["id"]] = {
                "file": name,
                "level": case["level"],
                "dialects": case["dialects"],
                "result": case["result"],
                "op": case["op"],
            }
            levels[path.parent.name][case["level"]] += 1
            dialects.update(case["dialects"])
    return {
        "$schema": "schema/index.schema.json",
        "fixtures": (directory / "VERSION").read_text(encoding="utf-8").strip(),
        "count": len(cases),
        "levels": {
            kind: {level: found[level] for level in LEVELS}
            for kind, found in levels.items()
            if found
        },
        "dialects": {dialect.version: dialects[dialect.version] for dialect in DIALECTS},
        "files": files,
        "cases": cases,
    }


def index_text(directory: Path) -> str:
    """The text of ``index.json``: a line for each file and each case."""
    content = index(directory)
    lines = ["{"]
    for key, value in content.items():
        comma = "" if key == "cases" else ","
        if not isinstance(value, dict):
            lines.append(f"  {json.dumps(key)}: {json.dumps(value)}{comma}")
            continue
        rows = [
            f"    {json.dumps(name)}: {json.dumps(row, ensure_ascii=False)}"
            for name, row in value.items()
        ]
        lines += [f"  {json.dumps(key)}: {{", ",\n".join(rows), f"  }}{comma}"]
    return "\n".join([*lines, "}"]) + "\n"


# --- copies ---------------------------------------------------------------------------------------

_BESIDES = ("README.md", "CHANGELOG.md", "LICENSE", "VERSION", "specs.json", "requirements.json")


def copy(
    directory: Path,
    destination: Path,
    *,
    dialects: Collection[str] = (),
    kinds: Collection[str] = (),
) -> list[str]:
    """Copy the cases about some editions and of some kinds, and what explains them.

    None given: all.  Returns the names of the files.  Where cases are left out their files are
    written anew, and so is the index.  Raises FileExistsError if there is anything already.
    """
    if destination.exists() and any(destination.iterdir()):
        raise FileExistsError(f"not an empty directory: {destination}")
    written: list[str] = []

    def write(name: str, data: bytes) -> None:
        path = destination / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        written.append(name)

    for path in case_files(directory):
        if kinds and path.parent.name not in kinds:
            continue
        document = read(path)
        kept = [
            case
            for case in document["cases"]
            if not dialects or set(case["dialects"]) & {*dialects}
        ]
        if not kept:
            continue
        data = path.read_bytes()
        if len(kept) < len(document["cases"]):
            text = json.dumps({**document, "cases": kept}, indent=2, ensure_ascii=False)
            data = f"{text}\n".encode()
        write(path.relative_to(directory).as_posix(), data)
    others = [directory / name for name in _BESIDES]
    others += sorted((directory / "schema").glob("*.json"))
    if not kinds and not dialects:
        others += sorted((directory / "quirks").glob("*.json"))
    for path in others:
        write(path.relative_to(directory).as_posix(), path.read_bytes())
    write(".gitattributes", b"# Octets are octets: no line ends are translated.\n* -text\n")
    write("index.json", index_text(destination).encode())
    return sorted(written)
