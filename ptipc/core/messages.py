"""The lines a transport process says: one class and one row of ``FORMS`` each.

From the row follow parsing and emission (see ``forms`` for the notation), the stream that a line is
written to, the exit code behind it and the reference table.  A line with a keyword that nobody
knows is a message, too, for it has to be ignored (``Unknown``).
Source: PT 1 section 3.3, PT 2.0 section 3.3.2, PT 2.1 to 3.0 section 1.2.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import field, frozen

from ptipc.core.codecs import Address, LogLevel, Protocol
from ptipc.core.dialects import DIALECTS, PT1, PT2_2, Dialect, Role, Stream
from ptipc.core.errors import LocalProtocolError, RemoteProtocolError
from ptipc.core.escapes import NO_ARGS, Args
from ptipc.core.forms import Form, Message, keyword_of

__all__ = [
    "FORMS",
    "CMethod",
    "CMethodError",
    "CMethodsDone",
    "EnvError",
    "Form",
    "Log",
    "Message",
    "ProxyDone",
    "ProxyError",
    "Reference",
    "SMethod",
    "SMethodError",
    "SMethodsDone",
    "Status",
    "StatusVersion",
    "Unknown",
    "Version",
    "VersionError",
    "emit_line",
    "exit_code",
    "form_for",
    "parse_line",
    "reference",
    "role_of",
    "stream_of",
]


@frozen
class VersionError(Message):
    """None of the versions that the host offered can be spoken; the process ends."""

    text: str = "no-version"


@frozen
class Version(Message):
    """The version that the transport process has chosen among those offered."""

    version: str


@frozen
class EnvError(Message):
    """The configuration cannot be understood; the process ends."""

    text: str


@frozen
class ProxyDone(Message):
    """The upstream proxy is accepted, and all connections will go through it."""


@frozen
class ProxyError(Message):
    """The upstream proxy cannot be used; the process ends."""

    text: str


@frozen
class CMethod(Message):
    """A client's transport is up: where it listens, and what is spoken there."""

    transport: str
    protocol: Protocol
    address: Address


@frozen
class CMethodError(Message):
    """A client's transport could not be started; the others go on."""

    transport: str
    text: str


@frozen
class CMethodsDone(Message):
    """Every transport of a client is up or has failed."""


@frozen
class SMethod(Message):
    """A server's transport is up: where its clients reach it, and the args they need."""

    transport: str
    address: Address
    args: Args = NO_ARGS
    options: tuple[tuple[str, str], ...] = field(default=(), kw_only=True)
    """Options that no edition defines, as they were written; they cannot be said (C33)."""


@frozen
class SMethodError(Message):
    """A server's transport could not be started; the others go on."""

    transport: str
    text: str


@frozen
class SMethodsDone(Message):
    """Every transport of a server is up or has failed."""


@frozen
class Log(Message):
    """Something for a person to read.

    ``level`` is None if the line has a shape that no edition knows; ``text`` is then all of it.
    """

    level: LogLevel | None
    text: str


@frozen
class StatusVersion(Message):
    """Which program the transport process is, and which version of it."""

    implementation: str
    version: str


def _pairs(pairs: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple((key, value) for key, value in pairs)


@frozen
class Status(Message):
    """Something about a transport for the host to know, as keys and values in order."""

    pairs: tuple[tuple[str, str], ...] = field(converter=_pairs)

    @property
    def transport(self) -> str | None:
        """What the transport process calls the transport it speaks of; None if it does not say."""
        return self.get("TRANSPORT")

    def get(self, key: str) -> str | None:
        """The first value of a key; None if there is none."""
        return next((value for found, value in self.pairs if found == key), None)


@frozen
class Unknown(Message):
    """A line whose keyword is not known; it has to be ignored (PT 1 section 3.3, C14)."""

    line: str


# --- the rows -------------------------------------------------------------------------------------

FORMS = (
    # The exit codes are EX_CONFIG, EX_USAGE and EX_UNAVAILABLE of sysexits.h.
    Form(VersionError, "VERSION-ERROR[ {text:no-version}]", error=True, exit=78),
    Form(Version, "VERSION {version}"),
    Form(EnvError, "ENV-ERROR[ {text}]", error=True, exit=64),
    Form(ProxyDone, "PROXY DONE", role=Role.CLIENT),
    Form(ProxyError, "PROXY-ERROR[ {text}]", role=Role.CLIENT, error=True, exit=69),
    Form(CMethod, "CMETHOD {transport} {protocol} {address}", role=Role.CLIENT),
    Form(CMethodError, "CMETHOD-ERROR[ {transport:word}][ {text}]", role=Role.CLIENT, error=True),
    Form(CMethodsDone, "CMETHODS DONE", role=Role.CLIENT),
    Form(
        SMethod,
        "SMETHOD {transport} {address:public}[ ARGS:{args}][ {options}]",
        role=Role.SERVER,
    ),
    Form(SMethodError, "SMETHOD-ERROR[ {transport:word}][ {text}]", role=Role.SERVER, error=True),
    Form(SMethodsDone, "SMETHODS DONE", role=Role.SERVER),
    Form(Log, 'LOG SEVERITY={level:severity} MESSAGE="{text:verbatim}"', until=PT1),
    Form(Log, "LOG {level}[ {text:utf8}]", since=PT2_2),
    Form(
        StatusVersion,
        'STATUS TYPE=version IMPLEMENTATION="{implementation}" VERSION="{version:printable}"',
        until=PT1,
    ),
    Form(Status, "STATUS {pairs}", until=PT1),
)
"""Every line of every edition."""

_BY_KEYWORD: dict[str, list[Form]] = {}
_BY_CLASS: dict[type[Message], list[Form]] = {}
for _form in FORMS:
    _BY_KEYWORD.setdefault(_form.keyword, []).append(_form)
    _BY_CLASS.setdefault(_form.message, []).append(_form)


def form_for(kind: type[Message], dialect: Dialect, role: Role | None = None) -> Form | None:
    """The row by which an edition, and a role, says messages of a class; None if it does not."""
    return next((form for form in _BY_CLASS.get(kind, ()) if form.applies(dialect, role)), None)


def role_of(kind: type[Message]) -> Role | None:
    """Whose messages of a class are; None: of both roles."""
    return next((form.role for form in _BY_CLASS.get(kind, ())), None)


def parse_line(text: str, dialect: Dialect, role: Role | None = None) -> Message:
    """The message of a line, which comes without its LF.

    A line is understood even if its edition has no such line: what a transport process says may
    depend on its age more than on what was agreed on (C19, C29).  With a role, lines of the other
    role are an error.  A LOG line of no known shape is a Log without a level (C19).

    Raises RemoteProtocolError if a line with a known keyword is malformed.
    """
    if "\n" in text:
        raise RemoteProtocolError("more than one line")
    keyword = keyword_of(text)
    forms = _BY_KEYWORD.get(keyword)
    if forms is None:
        return Unknown(text)
    if role is not None and forms[0].role not in (None, role):
        raise RemoteProtocolError(f"{keyword} is not a line of a {role.value}")
    for form in forms:
        try:
            return form.parse(text, dialect)
        except RemoteProtocolError as failure:
            error = failure
    if forms[0].message is Log:
        return Log(None, text[len(keyword) + 1 :])
    raise error


def emit_line(message: Message, dialect: Dialect, role: Role | None = None) -> str:
    """The line that says a message in an edition, without its LF.

    Raises LocalProtocolError if the edition, or the role, has no such line, if the message has a
    value that cannot be written, or if it would be heard with another meaning.
    """
    form = form_for(type(message), dialect, role)
    if form is None:
        speaker = f"{role.value} in {dialect}" if role else dialect
        raise LocalProtocolError(f"there is no {type(message).__name__} line for {speaker}")
    return form.emit(message, dialect)


def stream_of(message: Message, dialect: Dialect) -> Stream:
    """Where an edition wants a message to be written (C9); what has no row goes to stdout."""
    forms = _BY_CLASS.get(type(message))
    return forms[0].stream(dialect) if forms else Stream.STDOUT


def exit_code(message: Message) -> int | None:
    """The code with which the process ends after a message; None: it goes on.

    PT 1 leaves the codes open; those of PT 2.0 are used in every edition (C10).
    """
    forms = _BY_CLASS.get(type(message))
    return forms[0].exit if forms else None


@frozen(kw_only=True)
class Reference:
    """What a table of the lines for people to read says about one of them."""

    keyword: str
    template: str
    role: Role | None
    editions: tuple[Dialect, ...]
    streams: tuple[Stream, ...]
    """Where it is written, in each of the editions."""
    exit: int | None
    meaning: str


def reference() -> tuple[Reference, ...]:
    """The table of all lines, in the order of ``FORMS``."""
    return tuple(_reference(form) for form in FORMS)


def _reference(form: Form) -> Reference:
    editions = tuple(dialect for dialect in DIALECTS if form.applies(dialect))
    return Reference(
        keyword=form.keyword,
        template=form.template,
        role=form.role,
        editions=editions,
        streams=tuple(form.stream(dialect) for dialect in editions),
        exit=form.exit,
        meaning=form.meaning,
    )
