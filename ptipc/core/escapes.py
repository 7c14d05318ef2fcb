"""The microformats inside single values: backslash lists, CString, JSON objects.

Each is one definition with two readers, parse and emit, as in ``codecs``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from attrs import field, frozen

from ptipc.core.codecs import NAME, Codec, visible

__all__ = [
    "ARGS",
    "CSTRING",
    "JSON_ARGS",
    "JSON_OPTIONS",
    "NO_ARGS",
    "OPTIONS",
    "OPTIONS_EQUALS",
    "PAIRS",
    "SMETHOD_ARGS",
    "SMETHOD_ARGS_LAX",
    "Args",
    "Options",
]

Pairs: TypeAlias = tuple[tuple[str, Any], ...]


def _pairs(args: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> Pairs:
    if isinstance(args, Args):
        return args.pairs
    items = args.items() if isinstance(args, Mapping) else args
    return tuple((name, value) for name, value in items)


@frozen(init=False, eq=False, repr=False)
class Args(Mapping[str, Any]):
    """Named values that a transport is given, in order; a name may be repeated.

    As a mapping it shows the first value of each name, which is how goptlib reads it.  The values
    are text; those that came in a JSON parameter block may be of any JSON type (C51).  ``repr``
    shows the names only, for the values are often secrets.  Equal are mappings in which every name
    has the same values in the same order, in whatever order the names come.
    Source: PT 1 section 3.5, PT 2.0 section 3.3.4.
    """

    pairs: Pairs = field(converter=_pairs)
    """All names and values in order."""

    _values: dict[str, tuple[Any, ...]] = field(init=False)
    """All values of each name; a search through the pairs would be quadratic in ``dict(args)``."""

    def __init__(self, args: Mapping[str, Any] | Iterable[tuple[str, Any]] = ()) -> None:
        self.__attrs_init__(args)

    @_values.default
    def _group(self) -> dict[str, tuple[Any, ...]]:
        found: dict[str, list[Any]] = {}
        for name, value in self.pairs:
            found.setdefault(name, []).append(value)
        return {name: tuple(values) for name, values in found.items()}

    def __getitem__(self, name: str) -> Any:
        return self._values[name][0]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mapping):
            return NotImplemented
        args = other if isinstance(other, Args) else Args(other)
        return self._values == args._values

    def __hash__(self) -> int:
        return hash(frozenset(self._values))  # not of the values, which may be lists

    def __repr__(self) -> str:
        return f"Args({', '.join(f'{visible(name)}=...' for name, _ in self.pairs)})"

    def all(self, name: str) -> tuple[Any, ...]:
        """Every value of a name, in order."""
        return self._values.get(name, ())


NO_ARGS = Args()

Options: TypeAlias = Mapping[str, Args]
"""What each transport of a process is given: the transport's name and its options."""


# --- backslash lists ------------------------------------------------------------------------------


_STOPS = {at: re.compile(rf"\\.?|{at}", re.DOTALL) for at in ",:;="}


def _cut(text: str, at: str, most: int = -1) -> list[str]:
    """Split text at its unescaped occurrences of a character, escapes left as they are.

    Not more than ``most`` times, if that is given: then what is behind is not looked at.
    """
    if "\\" not in text:
        return text.split(at, most)
    pieces: list[str] = []
    start = 0
    for stop in _STOPS[at].finditer(text):
        if stop[0] == "\\":
            raise ValueError("a backslash at the end escapes nothing")
        if stop[0] == at:
            pieces.append(text[start : stop.start()])
            start = stop.end()
            if len(pieces) == most:
                break
    return [*pieces, text[start:]]


_BACKSLASHED = re.compile(r"\\(.)", re.DOTALL)


def _plain(text: str) -> str:
    # C32, C46: what a backslash before any other character means is not defined; goptlib drops it.
    return _BACKSLASHED.sub(r"\1", text) if "\\" in text else text


def _backslashed(text: str, special: str) -> str:
    return "".join(f"\\{char}" if char in special else char for char in text)


def _parse_pair(text: str) -> tuple[str, str]:
    # C34, C46: tor leaves "=" in values as it is, so only the first bare one separates.
    key, *value = _cut(text, "=", 1)
    if not value:
        raise ValueError("no equals sign in an item")
    if not key:
        raise ValueError("an item without a key")
    return _plain(key), _plain(value[0])


_UNWRITABLE = re.compile("[\0\r\n\ud800-\udc7f\udd00-\udfff]")
_UNWRITABLE_IN_A_LINE = re.compile("[^!-~]")


def _emit_pair(
    key: str, value: Any, keys: str, values: str, unwritable: re.Pattern[str] = _UNWRITABLE
) -> str:
    if not key:
        raise ValueError("an item without a key cannot be written")
    if not isinstance(value, str):
        raise ValueError(f"the value of {key!r} is not text")
    for what, text in (("key", key), ("value", value)):
        if unwritable.search(text):  # which character it is may not be shown
            raise ValueError(f"the {what} of {key!r} has a character that cannot be written")
    return f"{_backslashed(key, keys)}={_backslashed(value, values)}"


def _parse_args(text: str) -> Args:
    # C46: a trailing ";" is an error, as it is to goptlib and obfs4proxy.
    return Args([_parse_pair(item) for item in _cut(text, ";")]) if text else NO_ARGS


def _emit_args(args: Args) -> str:
    return ";".join(_emit_pair(key, value, "\\;=", "\\;=") for key, value in Args(args).pairs)


ARGS = Codec(_parse_args, _emit_args)
r"""Per-connection args: ``key=value;key=value``, with ``\``, ``;`` and ``=`` escaped.

They travel as octets, so what is beyond ASCII is written as it is; only NUL, which ends the user id
of SOCKS4, and line ends are not written.
Source: PT 1 section 3.5, C46.
"""


def _parse_options(text: str) -> Options:
    found: dict[str, list[tuple[str, str]]] = {}
    for item in _cut(text, ";") if text else []:
        name, *option = _cut(item, ":", 1)
        try:
            name = NAME.parse(_plain(name))
        except ValueError:
            # Without the text, which may be a part of a value.
            raise ValueError("an option that does not begin with a transport's name") from None
        if not option:
            raise ValueError(f"no colon between {name!r} and its option")
        found.setdefault(name, []).append(_parse_pair(option[0]))
    return {name: Args(pairs) for name, pairs in found.items()}


_OPTION_KEYS = ":;=\\"


def _emit_options(values: str) -> Callable[[Options], str]:
    def emit(options: Options) -> str:
        return ";".join(
            f"{NAME.emit(name)}:{_emit_pair(key, value, _OPTION_KEYS, values)}"
            for name, args in options.items()
            for key, value in Args(args).pairs
        )

    return emit


OPTIONS = Codec(_parse_options, _emit_options(":;\\"))
r"""Server options: ``name:key=value;name:key=value``, with ``:``, ``;`` and ``\`` escaped.

A transport without options does not appear in the text.
Source: PT 1 section 3.2.3, C34.
"""

OPTIONS_EQUALS = Codec(_parse_options, _emit_options(":;=\\"))
"""As ``OPTIONS``, with ``=`` escaped in values as well (PT 2.0 section 3.3.1.3, C34)."""


def _smethod_pieces(text: str) -> list[str]:
    pieces = _cut(text, ",")
    # C31: a trailing comma is tolerated by tor and arti.
    return pieces[:-1] if len(pieces) > 1 and not pieces[-1] else pieces


def _parse_smethod_args(text: str) -> Args:
    items: list[list[str]] = []
    for piece in _smethod_pieces(text) if text else []:  # C31: goptlib writes an empty "ARGS:"
        if items and len(_cut(piece, "=", 1)) == 1:
            items[-1].append(piece)  # pyptlib does not escape the commas of its values
        else:
            items.append([piece])
    return Args([_parse_pair("\\,".join(item)) for item in items])


def _parse_smethod_args_lax(text: str) -> Args:
    # C30: the examples of PT 2.0 to 3.0 separate by ";" against their own grammar.
    pieces = _smethod_pieces(text)
    items = _cut(pieces[0], ";")
    if len(pieces) == 1 and len(items) > 1:
        cuts = [_cut(item, "=", 1) for item in items]
        if all(len(cut) == 2 and cut[0] for cut in cuts):
            return Args([_parse_pair(item) for item in items])
    return _parse_smethod_args(text)


def _emit_smethod_args(args: Args) -> str:
    return ",".join(
        _emit_pair(key, value, "\\=,", "\\=,", _UNWRITABLE_IN_A_LINE)
        for key, value in Args(args).pairs
    )


SMETHOD_ARGS = Codec(_parse_smethod_args, _emit_smethod_args)
r"""The args of an ``SMETHOD`` line: ``key=value,key=value``, with ``\``, ``=`` and ``,`` escaped.

They are one field of a line, so what is written is printable ASCII without space.
Source: PT 1 section 3.3.3, C30 to C32.
"""

SMETHOD_ARGS_LAX = Codec(_parse_smethod_args_lax, _emit_smethod_args)
"""As ``SMETHOD_ARGS``; semicolons are read as separators if there are no commas (C30)."""


# --- CString --------------------------------------------------------------------------------------

_CSTRING_ESCAPE = re.compile(r"\\([0-7]{1,3}|x[0-9A-Fa-f]{2}|.)", re.DOTALL)
_CSTRING = re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)"', re.DOTALL)
_ODD = re.compile(r"[^ -~\n\r\t]+")
_CONTROLS = {"n": "\n", "t": "\t", "r": "\r"}
_SHORT = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def _unescape_cstring(text: str) -> str:
    def octets(match: re.Match[str]) -> str:
        escape = match[1]
        if escape[0] in "01234567":
            return chr(int(escape, 8) & 0xFF)
        if escape[0] == "x" and len(escape) == 3:
            return chr(int(escape[1:], 16))
        return _CONTROLS.get(escape, escape)

    return _CSTRING_ESCAPE.sub(octets, text)


def _parse_cstring(text: str) -> str:
    # Octal and hexadecimal escapes stand for octets of UTF-8, so they are put together as octets.
    octets = text.encode("utf-8", "surrogateescape").decode("latin-1")
    if text.startswith('"'):
        match = _CSTRING.fullmatch(octets)
        if match is None:
            raise ValueError(f"not one quoted string: {text!r}")
        octets = _unescape_cstring(match[1])
    elif " " in text or "\t" in text:
        raise ValueError(f"white space outside of quotes: {text!r}")
    return octets.encode("latin-1").decode("utf-8", "replace")  # C15


def _emit_cstring(text: str) -> str:
    # C20: tor refuses "\a", arti refuses octal; these five escapes are what both read.
    kept = _ODD.sub(lambda odd: visible(odd[0]), text)
    return f'"{kept.translate(_SHORT)}"'


CSTRING = Codec(_parse_cstring, _emit_cstring)
r"""Text in quotes with C's escapes, or one bare word (control-spec section 2.1.1, C20).

What is written uses ``\\``, ``\"``, ``\n``, ``\r`` and ``\t`` only; other control characters, and
characters beyond ASCII, become visible text.
"""

_PAIR = re.compile(
    r'[ \t]*([^ \t="]+)=("[^"\\]*(?:\\.[^"\\]*)*"|(?!")[^ \t]*)(?=[ \t]|\Z)', re.DOTALL
)
_BARE = re.compile(r"[A-Za-z0-9._:+/-]+")


def _parse_pairs(text: str) -> tuple[tuple[str, str], ...]:
    found = []
    end = 0
    text = text.rstrip(" \t")
    while end < len(text):
        match = _PAIR.match(text, end)
        if match is None:
            raise ValueError(f"not a list of KEY=value: {text!r}")
        found.append((match[1], _parse_cstring(match[2])))
        end = match.end()
    if not found:
        raise ValueError(f"not a list of KEY=value: {text!r}")
    return tuple(found)


def _emit_pairs(pairs: tuple[tuple[str, str], ...]) -> str:
    if not pairs:
        raise ValueError("a list of KEY=value without entries cannot be written")
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("a key is repeated")  # C22
    for key, _ in pairs:
        if not re.fullmatch(r"[!#-<>-~]+", key):
            raise ValueError(f"not a key: {key!r}")
    # C22: arti cannot read a bare empty value.
    return " ".join(
        f"{key}={value if _BARE.fullmatch(value) else _emit_cstring(value)}" for key, value in pairs
    )


PAIRS = Codec(_parse_pairs, _emit_pairs)
"""``KEY=value KEY="quoted value"``, in order; keys may repeat when read (C22)."""


# --- JSON -----------------------------------------------------------------------------------------


def _reject_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def _load(text: str) -> dict[str, Any]:
    import json  # slow to import, and most launches do without

    try:
        value = json.loads(text, parse_constant=_reject_constant)
    except json.JSONDecodeError as error:
        # Without the text, which the error would carry with it.
        raise ValueError(f"not JSON: {error.msg.lower()} at character {error.pos}") from None
    except RecursionError:
        raise ValueError("JSON nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError(f"not a JSON object but a {type(value).__name__}")
    return value


def _plain_object(value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f"a {type(value).__name__} is not JSON")
    if isinstance(value, Args) and len(value) < len(value.pairs):
        raise ValueError("a name is repeated, which a JSON object cannot hold")
    return dict(value)


def _dump(value: Mapping[str, Any]) -> str:
    import json

    try:
        text = json.dumps(
            value,
            separators=(",", ":"),
            ensure_ascii=False,
            allow_nan=False,
            default=_plain_object,
        )
        text.encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"cannot be written as JSON: {error}") from None
    return text


def _parse_object(text: str) -> dict[str, Any]:
    value = _load(text)
    _dump(value)  # "\ud800" and 1e999 are JSON, but no one could pass them on
    return value


def _emit_object(value: Mapping[str, Any]) -> str:
    text = _dump(value)
    if _load(text) != value:
        raise ValueError("cannot be written as JSON without becoming something else")
    return text


JSON_ARGS: Codec[Args] = Codec(lambda text: Args(_parse_object(text)), _emit_object)
"""Per-connection args as one JSON object (PT 2.0 section 3.3.4, C51)."""

JSON_OPTIONS: Codec[Mapping[str, Any]] = Codec(_parse_object, _emit_object)
"""Options as one JSON object (PT 2.2 section 1.1.3, C35).

Any mapping is written as an object, ``Args`` too; ``config`` tells the nested from the flat form.
"""
