"""Both ends of the conversation in lines: the transport process's and the host's.

The transport process asks ``TransportSession`` what to write where; the host feeds ``HostSession``
with what it reads.  Neither reads nor writes anything itself.
Source: PT 1 section 3.3, PT 2.0 section 3.3.2, PT 2.1 to 3.0 section 1.2.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeAlias

from attrs import frozen

from ptipc.core.codecs import LogLevel
from ptipc.core.conversation import ANYTIME, ORDER, Conversation, OutOfOrder, Phase
from ptipc.core.dialects import DIALECTS, Dialect, Role, Stream, dialect_for
from ptipc.core.errors import ConfigError, LocalProtocolError, RemoteProtocolError
from ptipc.core.forms import keyword_of
from ptipc.core.messages import (
    FORMS,
    CMethod,
    CMethodError,
    CMethodsDone,
    EnvError,
    Log,
    Message,
    ProxyError,
    SMethod,
    SMethodError,
    SMethodsDone,
    Status,
    StatusVersion,
    Version,
    VersionError,
    emit_line,
    exit_code,
    form_for,
    parse_line,
    stream_of,
)

if TYPE_CHECKING:
    from ptipc.core.config import Config

__all__ = [
    "Event",
    "Failure",
    "Heard",
    "HostSession",
    "Incomplete",
    "Line",
    "LineSplitter",
    "StderrText",
    "TransportSession",
    "Violation",
    "Write",
]

Write: TypeAlias = tuple[Stream, bytes]
"""What to write, and where: one whole line, in one piece (C18)."""

LINE_LIMIT = 64 * 1024
"""How many octets of a line are kept; no document has a limit, but memory does."""


# --- the transport process's end ------------------------------------------------------------------


class TransportSession:
    """What a transport process says to its host: nothing out of order, nothing unasked for.

    ``config`` is the configuration, or only the dialect; then the role, the names of the transports
    asked for and whether there is an upstream proxy may be given, too, and what is not given is
    not checked.  ``log_threshold`` is the level from which on LOG lines are said in editions that
    have such a threshold (PT 2.2 section 1.1.1); PT 1 says them all.
    With ``mirror_errors``, what belongs on stderr is written to stdout as well, for no host is
    known to read stderr (C9).
    """

    def __init__(
        self,
        config: Config | Dialect,
        role: Role | None = None,
        transports: Iterable[str] | None = None,
        *,
        proxy: bool | None = None,
        log_threshold: LogLevel = LogLevel.NONE,
        mirror_errors: bool = False,
    ) -> None:
        if isinstance(config, Dialect):
            self.dialect = config
        else:
            self.dialect = config.dialect
            role, transports, proxy = config.role, config.transports, config.proxy is not None
            log_threshold = config.log_threshold
        self.role = role
        self.log_threshold = log_threshold if self.dialect.log_threshold else LogLevel.DEBUG
        self.exit_code: int | None = None
        """The code with which the process has to end now; None: it goes on (C10)."""
        self._conversation = Conversation(role=role, proxy=proxy)
        self._asked = None if transports is None else frozenset(transports)
        self._told: set[str] = set()
        self._mirror = mirror_errors

    @classmethod
    def for_error(cls, error: ConfigError, *, mirror_errors: bool = False) -> TransportSession:
        """A session for ``fail``, where the configuration could not be read."""
        return cls(error.dialect, mirror_errors=mirror_errors)

    @property
    def phase(self) -> Phase:
        """How far the conversation has come."""
        return self._conversation.phase

    def wants(self, message: Message) -> bool:
        """Whether the host wants to hear this; ``send`` keeps silent about what it does not.

        That is LOG below the threshold, and LOG and STATUS where the edition has none.
        """
        if not isinstance(message, Log | Status | StatusVersion):
            return True
        if isinstance(message, Log) and (message.level or LogLevel.NONE) < self.log_threshold:
            return False
        return form_for(type(message), self.dialect, self.role) is not None

    def send(self, message: Message) -> list[Write]:
        """Say a message: what to write where, nothing if the host does not want to hear it.

        Raises LocalProtocolError if it cannot be said, or not now.
        """
        if not self.wants(message):
            return []
        text = emit_line(message, self.dialect, self.role)
        self._check(message)
        try:
            self._conversation.say(message)
        except OutOfOrder as error:
            raise LocalProtocolError(f"{error} ({error.rule})") from None
        if isinstance(message, CMethod | CMethodError | SMethod | SMethodError):
            self._told.add(message.transport)
        self.exit_code = self.exit_code or exit_code(message)
        data = text.encode("utf-8") + b"\n"
        stream = stream_of(message, self.dialect)
        if self._mirror and stream is Stream.STDERR:
            return [(Stream.STDOUT, data), (stream, data)]
        return [(stream, data)]

    def fail(self, error: ConfigError) -> list[Write]:
        """Say what is wrong with the configuration; ``exit_code`` is then what to exit with.

        Raises LocalProtocolError if it is too late for that.
        """
        writes: list[Write] = []
        if isinstance(error.message, ProxyError) and self.phase is Phase.START:
            # C12: before VERSION, tor ends the process without a look at the text.
            writes = self.send(Version(self.dialect.version))
        return writes + self.send(error.message)

    def _check(self, message: Message) -> None:
        match message:
            case Version(version) if version != self.dialect.version:
                # C2: the host compares it octet by octet with what it offered.
                raise LocalProtocolError(f"the version is not {version!r} but {self.dialect}")
            case StatusVersion() if self.phase in (Phase.START, Phase.READY, Phase.ENDED):
                raise LocalProtocolError("a version is told between VERSION and DONE (C23)")
            case CMethod(name) | CMethodError(name) | SMethod(name) | SMethodError(name):
                # C24: what nobody asked for, or nobody knows, is passed over in silence.
                if self._asked is not None and name not in self._asked:
                    raise LocalProtocolError(f"nobody asked for the transport {name!r} (C24)")
                if name in self._told:
                    raise LocalProtocolError(f"the transport {name!r} was spoken of before (C27)")


# --- lines ----------------------------------------------------------------------------------------


@frozen
class Line:
    """A line as it was read, or as much of it as was kept."""

    text: str
    truncated: bool = False
    """Whether it was longer than the limit; what was beyond is lost."""
    ended: bool = True
    """Whether its LF was read."""


class LineSplitter:
    """Cuts octets into lines, however they come in.

    One CR before the LF belongs to the line's end (C16), what is not UTF-8 is replaced (C15), and a
    line beyond ``limit`` octets is cut there and given at once.
    """

    def __init__(self, limit: int = LINE_LIMIT) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._skipping = False

    def receive_data(self, data: bytes | bytearray | memoryview) -> list[Line]:
        """The lines that are complete, or too long, with these octets."""
        *whole, rest = bytes(data).split(b"\n")
        lines: list[Line] = []
        for piece in whole:
            self._add(piece, lines)
            if not self._skipping:
                lines.append(Line(self._take().removesuffix("\r")))
            self._skipping = False
        self._add(rest, lines)
        return lines

    def receive_eof(self) -> list[Line]:
        """What is left without an LF, if anything; no host acts upon it (C18)."""
        return [Line(self._take(), ended=False)] if self._buffer else []

    def _add(self, piece: bytes, lines: list[Line]) -> None:
        if self._skipping:
            return
        room = self._limit - len(self._buffer)
        self._buffer += piece[:room]
        if len(piece) > room:
            lines.append(Line(self._take(), truncated=True, ended=False))
            self._skipping = True

    def _take(self) -> str:
        text = self._buffer.decode("utf-8", "replace")
        self._buffer.clear()
        return text


# --- the host's end -------------------------------------------------------------------------------


@frozen
class Heard:
    """A line was understood; it may be one of those that have to be ignored."""

    message: Message
    stream: Stream
    line: str


@frozen
class Violation:
    """A line is against the rules.

    ``rule`` is the contradiction in the documents whose decision it breaks (C2, C26 to C29, C43,
    C44), ``syntax`` if the line is malformed, ``role`` if only the other role says such lines, else
    ``order``.  Most such lines are passed over; of transports spoken of twice the last word counts
    (C27), and a protocol of another edition is taken (C29).  What cannot be forgiven is the
    session's ``failure`` as well.
    """

    text: str
    line: str
    rule: str
    stream: Stream


@frozen
class StderrText:
    """A line on stderr that is not meant for the host (C9)."""

    line: str


@frozen
class Incomplete:
    """A line without its end, which is not acted upon: too long, or the last one (C18)."""

    line: str
    stream: Stream
    truncated: bool


Event: TypeAlias = Heard | Violation | StderrText | Incomplete
"""What can come of a line."""


@frozen
class Failure:
    """Why nothing more will come of a transport process.

    ``code`` is the keyword of the line that said so, or the rule that was broken, or ``eof``.
    """

    code: str
    text: str

    def __str__(self) -> str:
        return f"{self.text} ({self.code})"


_ON_STDERR = frozenset(form.keyword for form in FORMS if form.error or form.message in ANYTIME)
"""The keywords that are looked for on stderr, in every edition (C9)."""


class HostSession:
    """What a host has heard from a transport process.

    ``offered`` are the dialects that the host offered, or None if it sent no list; ``transports``
    the names it asked for, ``proxy`` whether it gave an upstream proxy.  A client's transport that
    does not listen on loopback is taken with ``allow_remote`` only (C28).  ``lax`` forgives a
    process that never says VERSION, as shapeshifter-dispatcher does (C67).

    Nothing that a process writes raises an error.
    """

    def __init__(
        self,
        offered: Iterable[Dialect] | None,
        role: Role,
        transports: Iterable[str],
        *,
        proxy: bool = False,
        allow_remote: bool = False,
        lax: bool = False,
        line_limit: int = LINE_LIMIT,
    ) -> None:
        self.transports = tuple(transports)
        self.version: str | None = None
        """The version that the process chose."""
        self.dialect: Dialect | None = None
        """What it thereby speaks."""
        self.methods: dict[str, CMethod | SMethod] = {}
        """The transports that are up, under their names."""
        self.errors: dict[str, str] = {}
        """The transports that could not be started, and why."""
        self.failure: Failure | None = None
        """Why the process is of no use, if it is not."""
        self._offered = None if offered is None else tuple(offered)
        # Until a version is agreed on, read as the newest that may be.
        self._guess = max(self._offered or DIALECTS, key=lambda dialect: dialect.edition)
        self._conversation = Conversation(role=role, proxy=proxy)
        self._allow_remote = allow_remote
        self._lax = lax
        self._splitters = {stream: LineSplitter(line_limit) for stream in Stream}
        self._open = set(Stream)

    @property
    def phase(self) -> Phase:
        """How far the conversation has come."""
        return Phase.ENDED if self.failure else self._conversation.phase

    @property
    def done(self) -> bool:
        """Whether the process is ready: each transport is up, has failed or is ignored."""
        return self.phase is Phase.READY

    @property
    def ignored(self) -> tuple[str, ...]:
        """The transports that the process passed over in silence, once it is done (C24)."""
        if not self.done:
            return ()
        return tuple(
            name for name in self.transports if name not in self.methods and name not in self.errors
        )

    # --- inputs

    def receive_data(self, stream: Stream, data: bytes | bytearray | memoryview) -> list[Event]:
        """Take what the process wrote to one of its outputs, in any pieces."""
        return self._read(self._splitters[stream].receive_data(data), stream)

    def receive_eof(self, stream: Stream) -> list[Event]:
        """Take notice that one of the outputs is closed.

        Once both are and the process was not done, that is a failure; which error it had may stand
        on either (C9).
        """
        events = self._read(self._splitters[stream].receive_eof(), stream)
        self._open.discard(stream)
        if not self._open and not self.done:
            self._fail("eof", "the process ended before it was ready")
        return events

    # --- lines

    def _read(self, lines: list[Line], stream: Stream) -> list[Event]:
        return [event for line in lines for event in self._read_line(line, stream)]

    def _read_line(self, line: Line, stream: Stream) -> list[Event]:
        if not line.ended:
            return [Incomplete(line.text, stream, line.truncated)]
        if stream is Stream.STDERR and keyword_of(line.text) not in _ON_STDERR:
            return [StderrText(line.text)]
        try:
            message = parse_line(line.text, self.dialect or self._guess)
        except RemoteProtocolError as error:
            if stream is Stream.STDERR:
                return [StderrText(line.text)]
            return [Violation(str(error), line.text, "syntax", stream)]
        events: list[Event] = [Heard(message, stream, line.text)]
        for rule, text in self._hear(message, stream):
            events.append(Violation(text, line.text, rule, stream))
        return events

    def _hear(self, message: Message, stream: Stream) -> list[tuple[str, str]]:
        """Take a message; what is wrong with it, as rules and texts."""
        wrong: list[tuple[str, str]] = []
        try:
            self._say(message, stream)
        except OutOfOrder as error:
            wrong.append((error.rule, str(error)))
            if not self._forgiven(message, error):
                return wrong
        if self.failure is not None:
            return wrong
        match message:
            case VersionError(text):
                self._fail("VERSION-ERROR", text)
            case EnvError(text):
                self._fail("ENV-ERROR", text)
            case ProxyError(text):
                self._fail("PROXY-ERROR", text)
            case Version(version):
                wrong += self._hear_version(version)
            case CMethod() | SMethod():
                wrong += self._hear_method(message)
            case CMethodError(name, text) | SMethodError(name, text):
                wrong += self._hear_error(name, text)
        return wrong

    def _say(self, message: Message, stream: Stream) -> None:
        conversation = self._conversation
        conversation.check_speaker(message)
        if stream is Stream.STDERR and not (self.done and exit_code(message)):
            # What is written to one stream may be read after what was written later to the other.
            return
        kind = type(message)
        unversioned = kind not in ANYTIME and (Phase.START, kind) not in ORDER
        if self._lax and unversioned and conversation.phase is Phase.START:
            conversation.phase = Phase.NEGOTIATED
        conversation.say(message)

    def _forgiven(self, message: Message, error: OutOfOrder) -> bool:
        """Whether a message that is out of order counts all the same."""
        match message:
            case VersionError() | EnvError() | ProxyError():
                # It is going to end, wherever it says so; but not if it can be used already (C26).
                return self.phase is not Phase.READY
            case CMethod() | CMethodError():
                return error.rule == "C44"  # tor waits for PROXY DONE until CMETHODS DONE
            case CMethodsDone() | SMethodsDone() if error.rule == "C44":
                self._fail("C44", "the process does not use the upstream proxy")
            case CMethodsDone() | SMethodsDone() if self.phase is Phase.START:
                self._fail("C67", "the process is done and never said VERSION")
        return False

    def _hear_version(self, version: str) -> list[tuple[str, str]]:
        if self._offered is None:
            dialect = dialect_for(version)
        else:
            dialect = next((each for each in self._offered if each.version == version), None)
        self.version = version
        if dialect is None:
            text = f"the version {version!r} was not offered"
            self._fail("C2", text)
            return [("C2", text)]
        self.dialect = dialect
        return []

    def _hear_method(self, message: CMethod | SMethod) -> list[tuple[str, str]]:
        name = message.transport
        if name not in self.transports:
            return [("C27", f"the transport {name!r} was not asked for")]
        wrong = []
        if isinstance(message, CMethod):
            if not message.address.is_loopback and not self._allow_remote:
                return [("C28", f"a client listens on {str(message.address)!r}, not on loopback")]
            if self.dialect and message.protocol.value not in self.dialect.protocols:
                text = f"{self.dialect} has no protocol {message.protocol.value!r}"
                wrong.append(("C29", text))
        if name in self.methods or name in self.errors:
            wrong.append(("C27", f"the transport {name!r} was spoken of before"))
            self.errors.pop(name, None)
        self.methods[name] = message
        return wrong

    def _hear_error(self, name: str, text: str) -> list[tuple[str, str]]:
        if name not in self.transports:
            return [("C27", f"the transport {name!r} was not asked for")]
        if self.errors.get(name) == text:
            return []  # mirrored to the other stream
        wrong = []
        if name in self.methods or name in self.errors:
            wrong.append(("C27", f"the transport {name!r} was spoken of before"))
            self.methods.pop(name, None)
        self.errors[name] = text
        return wrong

    def _fail(self, code: str, text: str) -> None:
        self.failure = self.failure or Failure(code, text)
