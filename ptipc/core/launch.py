"""What a host wants of a transport process, and what it is told if it does not get it.

A ``Plan`` is all that is to be known to start a process; ``plan`` makes one of the words that a
host has at hand, and ``LaunchSettings`` lists those.  Nothing here starts anything.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, Generic, Literal, Protocol, TypeAlias, TypedDict, TypeVar, Unpack

from attrs import field, fields_dict, frozen

from ptipc.core.codecs import (
    ADDRESS,
    LISTENER,
    PROXY,
    TARGET,
    Address,
    Codec,
    LogLevel,
    Mode,
    UpstreamProxy,
    shortened,
)
from ptipc.core.codecs import Protocol as CodecProtocol
from ptipc.core.config import Config, Invocation
from ptipc.core.dialects import PT1, Dialect, Role, Stream
from ptipc.core.errors import LocalProtocolError, PtipcError
from ptipc.core.escapes import ARGS, Args
from ptipc.core.messages import CMethod
from ptipc.core.session import LINE_LIMIT, Event, Heard, HostSession, Incomplete
from ptipc.core.settings import Channel

__all__ = [
    "Client",
    "LaunchError",
    "LaunchSettings",
    "Path",
    "Place",
    "Plan",
    "ProcessEnded",
    "Recent",
    "Require",
    "launch_config",
    "plan",
    "proxy_of",
    "running_port",
    "unmet",
]

START_TIMEOUT = 30.0
"""How many seconds a transport process has from its start to ``CMETHODS DONE``."""
STOP_TIMEOUTS = (3.0, 3.0)
"""How many seconds it has to end after its stdin was closed, and then after SIGTERM."""

Place: TypeAlias = Address | str
"""An address, or its text: ``127.0.0.1:9001`` or ``[::1]:9001``."""


class _PathLike(Protocol):
    def __fspath__(self) -> str: ...


Path: TypeAlias = str | _PathLike
"""A path, or a word of a command, as text or as ``pathlib`` has it."""

Require: TypeAlias = Literal["any", "all"] | Collection[str]
"""Which transports have to come up: at least one, every one, or those of these names."""

T = TypeVar("T")


# --- what is wanted -------------------------------------------------------------------------------


class LaunchSettings(TypedDict, total=False):
    """What may be said about a launch; give ``client`` or ``server``.

    All seconds are numbers, addresses and the upstream proxy may be text, and what has no comment
    is a field of ``Config``.
    """

    client: Iterable[str]
    """The names of the transports to start."""
    server: Mapping[str, Place | None] | Iterable[str]
    """The names of the transports to start, and where each of them listens."""

    dialect: Dialect | None
    """The edition to speak; None: PT 1, as tor does."""
    offered: Iterable[Dialect]
    """Other editions that the process may choose."""
    channel: Channel | None
    """How it is configured; None: as is usual in the edition."""
    flat_options: bool
    """Whether the options are written as shapeshifter-dispatcher expects them."""

    state: Path | None
    """The directory for its files; None: one that is removed afterwards."""
    proxy: UpstreamProxy | str | None
    listen: Place | None
    target: Place | None
    extended_port: Place | None
    auth_cookie: str | None
    options: Mapping[str, Mapping[str, Any] | Iterable[tuple[str, Any]]]
    options_file: str | None
    mode: Mode
    log_threshold: LogLevel
    outbound_v4: str | None
    outbound_v6: str | None
    exit_on_stdin_close: bool

    environ: Mapping[str, str] | None
    """What it inherits, but for the settings of others; None: our own environment."""
    cwd: Path | None
    umask: int | None
    guard: bool
    """Whether something more than the end of its stdin ends it if we are killed."""

    timeout: float
    """How many seconds it has to become ready."""
    stop_timeouts: tuple[float, float]
    """How many seconds it has to end after its stdin was closed, and then after SIGTERM."""
    require: Require
    """Which transports have to come up."""
    allow_remote: bool
    """Whether a client's transport may listen elsewhere than on loopback (C28)."""
    lax: bool
    """Whether a process that never says VERSION is taken (C67)."""
    line_limit: int
    """How many octets of a line are kept."""

    on_event: Callable[[Event], object] | None
    """Called with everything that it says."""
    handler: Callable[[Any, Client], Any] | None
    """Called with the stream of each client of a server, and who that is."""
    admit: Callable[[Client], Any] | None
    """Called before ``handler``, to say whether the client is wanted."""


@frozen
class Client:
    """Who a server's transport says is coming (Extended ORPort section 3.1)."""

    address: Address | None
    """Where from; None if it does not say."""
    transport: str | None
    """Through which transport; None if it does not say."""


def _words(words: Iterable[Path]) -> tuple[str, ...]:
    if isinstance(words, str):
        raise LocalProtocolError(f"command: a list of words, not one text: {words!r}")
    return tuple(_text(word) for word in words)


def _text(path: Path) -> str:
    return path if isinstance(path, str) else path.__fspath__()


def _maybe_text(path: Path | None) -> str | None:
    return None if path is None else _text(path)


@frozen(kw_only=True)
class Plan:
    """A launch that is planned: which program, told what, and what is expected of it.

    Equal plans start the same; see ``LaunchSettings`` for the fields.
    """

    command: tuple[str, ...] = field(converter=_words)
    config: Config
    offered: tuple[Dialect, ...] = field(default=(), converter=tuple)
    channel: Channel | None = None
    flat_options: bool = False
    environ: Mapping[str, str] | None = field(default=None, repr=False)
    cwd: str | None = field(default=None, converter=_maybe_text)
    umask: int | None = None
    guard: bool = True
    timeout: float = START_TIMEOUT
    stop_timeouts: tuple[float, float] = STOP_TIMEOUTS
    require: Require = "any"
    allow_remote: bool = False
    lax: bool = False
    line_limit: int = LINE_LIMIT
    on_event: Callable[[Event], object] | None = None
    handler: Callable[[Any, Client], Any] | None = None
    admit: Callable[[Client], Any] | None = None

    def __attrs_post_init__(self) -> None:
        if not self.command:
            raise LocalProtocolError("command: there is nothing to start")
        if isinstance(self.require, str):
            if self.require not in ("any", "all"):
                raise LocalProtocolError(
                    f"require: neither any, nor all, nor names: {self.require!r}"
                )
        elif strangers := set(self.require) - set(self.config.transports):
            raise LocalProtocolError(f"require: nobody asks for {sorted(strangers)!r}")
        if self.handler is not None and self.config.role is not Role.SERVER:
            raise LocalProtocolError("handler: only a server has clients")
        if self.handler is not None and self.config.extended_port is not None:
            raise LocalProtocolError("handler: extended_port leads somewhere else already")

    @property
    def name(self) -> str:
        """What the program is called, for people."""
        return self.command[0].replace("\\", "/").rstrip("/").rpartition("/")[2]

    def session(self) -> HostSession:
        """The host's end of a conversation with the process."""
        return HostSession(
            [self.config.dialect, *self.offered],
            self.config.role,
            self.config.transports,
            proxy=self.config.proxy is not None,
            allow_remote=self.allow_remote,
            lax=self.lax,
            line_limit=self.line_limit,
        )

    def invocation(self) -> Invocation:
        """What the process has to be started with.  Raises LocalProtocolError."""
        return self.config.to_process(
            self.channel, flat_options=self.flat_options, offered=self.offered
        )


def plan(command: Iterable[Path], **settings: Unpack[LaunchSettings]) -> Plan:
    """The plan for a launch.  Raises LocalProtocolError for what cannot be said."""
    given: dict[str, Any] = {**settings}
    own = {name: given.pop(name) for name in fields_dict(Plan) if name in given}
    return Plan(command=command, config=launch_config(**given), **own)


def launch_config(
    *,
    client: Iterable[str] | None = None,
    server: Mapping[str, Place | None] | Iterable[str] | None = None,
    dialect: Dialect | None = None,
    state: Path | None = None,
    proxy: UpstreamProxy | str | None = None,
    listen: Place | None = None,
    target: Place | None = None,
    extended_port: Place | None = None,
    **settings: Any,
) -> Config:
    """The configuration of a launch.

    Give either ``client``, the names of the transports to start, or ``server``, which may also say
    where each of them listens.  Addresses and the upstream proxy may be given as text; the other
    ``settings`` are those of ``Config``.  Raises LocalProtocolError for what cannot be said.
    """
    if (client is None) == (server is None):
        raise LocalProtocolError("a transport process is either a client or a server")
    dialect = dialect or PT1
    given: dict[str, Any] = {
        "proxy": _read("proxy", PROXY, proxy),
        "listen": _read("listen", ADDRESS, listen),
        "target": _read("target", TARGET, target),
        "extended_port": _read("extended_port", ADDRESS, extended_port),
        **settings,
    }
    if state is not None:
        given["state"] = _text(state)
    if client is not None:
        return Config(
            dialect=dialect, role=Role.CLIENT, transports=_names("client", client), **given
        )
    assert server is not None
    places = server if isinstance(server, Mapping) else dict.fromkeys(_names("server", server))
    bind_addresses = {
        name: address
        for name, place in places.items()
        if (address := _read("server", ADDRESS, place)) is not None
    }
    return Config(
        dialect=dialect,
        role=Role.SERVER,
        transports=tuple(places),
        bind_addresses=bind_addresses,
        **given,
    )


_PROTOCOLS = {protocol.value.lower(): protocol for protocol in CodecProtocol} | {
    "socks4a": CodecProtocol.SOCKS4,
    "socks5h": CodecProtocol.SOCKS5,
}


def running_port(place: Place, *, allow_remote: bool = False) -> tuple[CodecProtocol, Address]:
    """What is spoken where, of a transport that runs already: ``address`` or ``PROTOCOL://address``.

    Raises LocalProtocolError if it cannot be read, or is not on loopback and ought to be.
    """
    protocol = CodecProtocol.SOCKS5
    if isinstance(place, str):
        scheme, separator, rest = place.rpartition("://")
        if separator and scheme.lower() not in _PROTOCOLS:
            raise LocalProtocolError(f"not a protocol of a transport's port: {scheme!r}")
        protocol = _PROTOCOLS.get(scheme.lower(), protocol)
        try:
            place = LISTENER.parse(rest.removesuffix("/"))
        except ValueError as error:
            raise LocalProtocolError(f"not the address of a port: {error}") from None
    if not (allow_remote or place.is_loopback):
        raise LocalProtocolError(
            f"not on loopback: {str(place)!r} (C28); allow_remote=True permits it"
        )
    return protocol, place


def proxy_of(method: CMethod, args: Args) -> UpstreamProxy:
    """A client's transport as the upstream proxy of another process, with the args to send to it.

    Raises LocalProtocolError if it does not speak SOCKS, or the args do not fit.
    """
    user = password = None
    if method.protocol not in (CodecProtocol.SOCKS4, CodecProtocol.SOCKS5):
        raise LocalProtocolError(f"not the protocol of a proxy: {method.protocol.value!r}")
    if args:
        octets = ARGS.emit(args).encode("utf-8", "surrogateescape")
        if len(octets) > 510:
            raise LocalProtocolError("the args do not fit in a user name and a password")
        # As PT 1 section 3.5 has it: one NUL says that all fitted in the name.
        parts = (octets[:255], octets[255:] or b"\0")
        user, password = (part.decode("utf-8", "surrogateescape") for part in parts)
    if method.protocol is CodecProtocol.SOCKS5:
        return UpstreamProxy("socks5", method.address, user, password)
    if password not in (None, "\0"):
        raise LocalProtocolError("the args do not fit in the user id of a SOCKS4 proxy")
    return UpstreamProxy("socks4a", method.address, user)


def _names(setting: str, names: Iterable[str]) -> tuple[str, ...]:
    if isinstance(names, str):
        raise LocalProtocolError(f"{setting}: a list of names, not one text: {names!r}")
    return tuple(names)


def _read(setting: str, codec: Codec[T], value: T | str | None) -> T | None:
    if not isinstance(value, str):
        return value
    try:
        return codec.parse(value)
    except ValueError as error:
        raise LocalProtocolError(f"{setting}: {error}") from None


# --- what comes of it -----------------------------------------------------------------------------


def unmet(require: Require, session: HostSession, why_not: Callable[[str], str]) -> str | None:
    """Why what has come up is not enough, in words; None if it is.

    ``why_not`` says why a transport is not up.
    """
    if require == "any":
        missing = () if session.methods else session.transports
    else:
        wanted = session.transports if require == "all" else require
        missing = tuple(name for name in wanted if name not in session.methods)
    reasons = "; ".join(f"{name}: {why_not(name)}" for name in missing)
    return f"what was required is not up ({reasons})" if missing else None


class LaunchError(PtipcError):
    """A transport process did not become ready.

    The text names the program and ends with its last words and what may help; ``reason`` is the
    same without the name.  ``transcript`` is what it said, ``stderr`` the last of what it wrote
    there, ``returncode`` its exit status if it ended by itself, ``errno`` the number of the error
    if it could not be started, ``hint`` what may help, and ``final`` whether trying again is of no
    use.
    """

    def __init__(
        self,
        text: str,
        *,
        program: str | None = None,
        transcript: Iterable[Event] = (),
        stderr: Iterable[str] = (),
        returncode: int | None = None,
        errno: int | None = None,
        hint: str | None = None,
        final: bool = False,
    ) -> None:
        self.transcript = tuple(transcript)
        self.stderr = tuple(stderr)
        self.returncode = returncode
        self.errno = errno
        self.hint = hint
        self.final = final
        parts = [text]
        said = [
            event
            for event in self.transcript
            if isinstance(event, Heard)
            or (isinstance(event, Incomplete) and event.stream is Stream.STDOUT)
        ]
        if said:
            line = shortened(said[-1].line)
            whole = "" if isinstance(said[-1], Heard) else ", a line without its end"
            parts.append(f"it said {line!r} last{whole}")
        elif errno is None:
            parts.append("it said nothing")
        if self.stderr:
            parts.append(f"on stderr it wrote {shortened(self.stderr[-1])!r}")
        if hint:
            parts.append(f"hint: {hint}")
        self.reason = "; ".join(parts)
        super().__init__(self.reason if program is None else f"{program}: {self.reason}")

    def __reduce__(self) -> tuple[Any, ...]:
        # What was made of the text would be made of it again.
        return Exception.__new__, (type(self), str(self)), self.__dict__


class ProcessEnded(PtipcError, ConnectionError):
    """There is no connection through a transport process that has ended, or is ending now."""


# --- what it said ---------------------------------------------------------------------------------


def _length(event: Any) -> int:
    return len(event.line)


class Recent(Generic[T]):
    """The last of what was said, bounded in number and in size.

    ``measure`` gives the size of one; that of an event is the length of its line.
    """

    def __init__(
        self, measure: Callable[[T], int] = _length, *, limit: int = 10_000, size: int = 1 << 20
    ) -> None:
        self._events: deque[T] = deque()
        self._measure = measure
        self._limit = limit
        self._size = size
        self._held = 0
        self.lost = 0
        """How many have had to go to make room for others."""

    def __iter__(self) -> Iterator[T]:
        return iter(tuple(self._events))

    def __len__(self) -> int:
        return len(self._events)

    def append(self, event: T) -> None:
        """Add the latest; the oldest make room."""
        self._events.append(event)
        self._held += self._measure(event)
        while len(self._events) > self._limit or (
            self._held > self._size and len(self._events) > 1
        ):
            self.take()
            self.lost += 1

    def take(self) -> T:
        """Remove and return the oldest.  Raises IndexError if there is none."""
        event = self._events.popleft()
        self._held -= self._measure(event)
        return event
