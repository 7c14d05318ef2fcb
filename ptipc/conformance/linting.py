"""Whether a collection of fixtures is well formed."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from ptipc.conformance.cases import KINDS, LEVELS, octets
from ptipc.conformance.fixtures import index, read
from ptipc.core.dialects import DIALECTS

__all__ = ["Finding", "lint"]

RESULTS = ("valid", "acceptable", "invalid")

_EDITIONS = tuple(dialect.version for dialect in DIALECTS)


@frozen
class Finding:
    """Something that is wrong with the collection."""

    file: str
    where: str
    """The id of a case, if it is about one."""
    what: str

    def __str__(self) -> str:
        place = f"{self.file}: {self.where}" if self.where else self.file
        return f"{place}: {self.what}"


def lint(directory: Path) -> list[Finding]:
    """Everything that is wrong: form, names, references, shapes and hashes.

    If ``jsonschema`` is installed, also what the schemas say.
    """
    found: list[Finding] = []
    documents: dict[str, Any] = {}
    for path in sorted(directory.rglob("*.json")):
        name = path.relative_to(directory).as_posix()
        found += [Finding(name, "", what) for what in _text_findings(path)]
        try:
            document = read(path)
        except ValueError as error:
            found.append(Finding(name, "", str(error)))
            continue
        if isinstance(document, dict):
            documents[name] = document
        else:
            found.append(Finding(name, "", "it is no object"))
    found += _case_findings(documents)
    found += _quirk_findings(documents)
    found += _schema_findings(documents)
    if not found:
        found += _index_findings(directory, documents)
    return found


def _text_findings(path: Path) -> Iterator[str]:
    data = path.read_bytes()
    if not data.endswith(b"\n"):
        yield "no line feed at the end"
    for octet, name in (
        (b"\r", "a carriage return"),
        (b"\t", "a tab"),
        (b" \n", "a blank at the end"),
    ):
        if octet in data:
            line = data.count(b"\n", 0, data.index(octet)) + 1
            yield f"{name} in line {line}"


def _case_findings(documents: Mapping[str, Any]) -> Iterator[Finding]:
    places: dict[str, str] = {}
    known = {each["id"] for each in documents.get("requirements.json", {}).get("requirements", ())}
    for name, document in documents.items():
        kind = name.partition("/")[0]
        if kind not in KINDS:
            continue
        if not isinstance(document.get("cases"), list):
            yield Finding(name, "", "it has no list of cases")
            continue
        yield from (Finding(name, "", what) for what in _envelope(name, kind, document))
        for at, case in enumerate(document["cases"]):
            if not isinstance(case, dict) or not isinstance(case.get("id"), str):
                yield Finding(name, "", f"case {at} has no id")
                continue
            id = case["id"]
            if id in places:
                yield Finding(name, id, f"there is one of that name in {places[id]}")
            places[id] = name
            try:
                wrong = list(_wrong_with(case, kind, known))
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                wrong = [f"it cannot be read: {error!r}"]
            yield from (Finding(name, id, what) for what in wrong)


def _envelope(name: str, kind: str, document: Mapping[str, Any]) -> Iterator[str]:
    if document.get("$schema") != f"../schema/{kind}.schema.json":
        yield f"its $schema is not ../schema/{kind}.schema.json"
    if f"{document.get('fixture')}.json" != name:
        yield f"it calls itself {document.get('fixture')!r}"
    if document.get("version") != 1:
        yield "its version is not 1"
    if not document["cases"]:
        yield "it has no cases"


_TEXTS = ("title", "section", "rule", "op")
_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*(\.[a-z0-9]+(-[a-z0-9]+)*)+")
_CONTRADICTION = re.compile(r"C([1-9]|[1-6][0-9]|7[01])")


def _wrong_with(case: Mapping[str, Any], kind: str, known: Collection[str]) -> Iterator[str]:
    if not _ID.fullmatch(case["id"]):
        yield "its id is not dotted lower case"
    for key in _TEXTS:
        if not isinstance(case.get(key), str) or not case[key]:
            yield f"it has no {key}"
    if case.get("level") not in LEVELS:
        yield f"no such level: {case.get('level')!r}"
    if case.get("result") not in RESULTS:
        yield f"no such result: {case.get('result')!r}"
    if not isinstance(case.get("input"), dict):
        yield "it has no input"
    for key, allowed in _LISTS.items():
        listed = case.get(key)
        if not isinstance(listed, list) or len({*listed}) != len(listed):
            yield f"{key} is no list, or has something twice"
        else:
            what, exists = allowed
            yield from (f"no such {what}: {each}" for each in listed if not exists(each, known))
    if not case.get("dialects"):
        yield "it is about no edition"
    yield from _SHAPES.get(kind, _no_shape)(case)


_LISTS: Mapping[str, tuple[str, Callable[[str, Collection[str]], bool]]] = {
    "requirements": ("requirement", lambda each, known: not known or each in known),
    "contradictions": ("contradiction", lambda each, known: bool(_CONTRADICTION.fullmatch(each))),
    "dialects": ("edition", lambda each, known: each in _EDITIONS),
}


def _no_shape(case: Mapping[str, Any]) -> Iterator[str]:
    yield from ()


def _codec(case: Mapping[str, Any]) -> Iterator[str]:
    reads = case["op"].endswith("/parse")
    if not reads and not case["op"].endswith("/emit"):
        if "output" not in case:
            yield "it has no output"
        return
    wanted = "text" if reads else "value"
    if set(case["input"]) != {wanted}:
        yield f"its input is not just a {wanted}"
    if ("output" in case) != (case["result"] != "invalid"):
        yield "what is invalid has no output, and everything else has one"
    if ("emitted" in case) != (reads and case["result"] == "acceptable"):
        yield "what is read and acceptable says how it is emitted, and nothing else does"
    if reads and case.get("emitted") == case["input"].get("text"):
        yield "what is emitted as it was read is valid, not acceptable"
    if not reads and case["result"] == "acceptable":
        yield "what is emitted is valid or invalid"


_WIRE_STEPS = ("receive", "send", "decide", "eof", "timeout")


def _wire(case: Mapping[str, Any]) -> Iterator[str]:
    if not isinstance(case.get("script"), list) or not case["script"]:
        yield "it has no script"
        return
    for at, step in enumerate(case["script"], 1):
        if len(step) != 1 or not {*step} <= {*_WIRE_STEPS}:
            yield f"step {at} is not one of {', '.join(_WIRE_STEPS)}"
        for key in ("receive", "send"):
            if key in step:
                octets(step[key])
    done = case["output"].get("done")
    if done is not (case["result"] != "invalid"):
        yield "done is true in the output of what is not invalid"
    if case["result"] == "invalid":
        error, code = case["output"].get("error"), case["output"].get("code")
        if error not in ("remote", "refused") or (error == "refused") != isinstance(code, int):
            yield "the error of an exchange is remote, or refused with a code"


def _with_output(case: Mapping[str, Any]) -> Iterator[str]:
    if "output" not in case:
        yield "it has no output"


_SHAPES: Mapping[str, Callable[[Mapping[str, Any]], Iterator[str]]] = {
    "codec": _codec,
    "config": _with_output,
    "session": _with_output,
    "wire": _wire,
}


def _quirk_findings(documents: Mapping[str, Any]) -> Iterator[Finding]:
    known = {
        case["id"]: case
        for name, document in documents.items()
        if name.partition("/")[0] in KINDS
        for case in document.get("cases", ())
        if isinstance(case, dict) and "id" in case
    }
    for name, document in documents.items():
        if not name.startswith("quirks/"):
            continue
        if f"quirks/{document.get('program')}-{document.get('version')}.json" != name:
            yield Finding(name, "", "its name is not that of the program and its version")
        for id in document.get("cases", {}):
            if id not in known:
                yield Finding(name, id, "there is no such case")


def _schema_findings(documents: Mapping[str, Any]) -> Iterator[Finding]:
    try:
        import jsonschema  # not needed for anything else, and slow to import
        import referencing
    except ImportError:
        return
    schemas = {name: document for name, document in documents.items() if name.startswith("schema/")}
    registry: Any = referencing.Registry().with_resources(
        (schema["$id"], referencing.Resource.from_contents(schema)) for schema in schemas.values()
    )
    for name, document in documents.items():
        if name in schemas:
            continue
        chosen = str(document.get("$schema", "")).removeprefix("../")
        if chosen not in schemas:
            yield Finding(name, "", f"no such schema: {chosen!r}")
            continue
        validator = jsonschema.Draft202012Validator(schemas[chosen], registry=registry)
        for error in validator.iter_errors(document):
            yield Finding(name, error.json_path, error.message[:200])


def _index_findings(directory: Path, documents: Mapping[str, Any]) -> Iterator[Finding]:
    if "index.json" not in documents:
        yield Finding("index.json", "", "there is none")
        return
    said, found = documents["index.json"], index(directory)
    for name in _differences(said.get("files", {}), found["files"]):
        yield Finding("index.json", "", f"{name} has changed since it was made")
    if said != found and said.get("files") == found["files"]:
        yield Finding("index.json", "", "it is not what the files say")


def _differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> Sequence[str]:
    names: Iterable[str] = {*one, *other}
    return sorted(name for name in names if one.get(name) != other.get(name))
