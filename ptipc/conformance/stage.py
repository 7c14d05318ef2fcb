"""Where a case is played: the program under test, and everything that the tester provides.

A ``Stage`` is what all cases of one run have in common; a ``Scene`` is set for one case: its
directories, a target, an upstream proxy, an Extended ORPort, and, where the transport disguises
its traffic, another process that understands it (the peer).
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import define, field

from ptipc.conformance.addresses import Taken
from ptipc.conformance.cases import fill
from ptipc.conformance.checks import OR
from ptipc.conformance.launching import Launch, launch_of
from ptipc.conformance.links import Link, UdpLink, connect, pipe
from ptipc.conformance.peers import Cookie, ExtendedPort, Peer, Proxy, Target, own_address
from ptipc.conformance.process import Place, Process, Spawn, spawn
from ptipc.conformance.recording import Recorder
from ptipc.core.codecs import Address, Mode
from ptipc.core.dialects import Dialect, Role
from ptipc.core.errors import PtipcError
from ptipc.core.escapes import NO_ARGS, Args
from ptipc.core.messages import CMethod, SMethod
from ptipc.core.socks import SocksInitiator
from ptipc.sockets import free_address

__all__ = ["Front", "Pooled", "Scene", "Stage"]


@define(eq=False)
class Pooled:
    """A process that waits for the next case which an ordinary launch will do for."""

    process: Process
    place: Place
    recorder: Recorder
    values: dict[str, str]


@define(kw_only=True, eq=False)
class Stage:
    """What all cases of one run have in common."""

    command: Sequence[str]
    transports: Sequence[str]
    """The names to ask for; most cases are played with the first."""
    role: Role
    dialect: Dialect
    args: Args = NO_ARGS
    """What a connection of the transport needs."""
    options: Mapping[str, Sequence[Sequence[Any]]] = field(factory=dict)
    extra: Mapping[str, str] = field(factory=dict)
    """Variables for the program."""
    peer: Sequence[str] | None = None
    """The command of a program that is the other end of the transport; None: none is needed."""
    timeout: float = 10.0
    """How many seconds a program has for one thing."""
    mode: Mode = Mode.SOCKS5
    """In which mode it is started, where a case does not ask for one."""
    required: frozenset[str] = frozenset()
    """What the program is said to be capable of: those cases are played whatever it shows."""
    capabilities: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()
    """What is required, and the program does not show it."""
    spawn: Spawn = spawn
    """How a process is started."""
    pool: list[Pooled] = field(factory=list)
    root: Path = field(factory=lambda: Path(tempfile.mkdtemp(prefix="ptipc-check-")))
    _places: int = field(default=0, init=False)

    def place(self) -> Place:
        """Directories for one more process."""
        self._places += 1
        root = self.root / f"{self._places}"
        root.mkdir()
        return Place(root)

    def process(self, role: Role, recorder: Recorder) -> Process:
        """A process that is still to be started, of the program or of its peer."""
        return Process(role, self.dialect, recorder, self.spawn)

    def ordinary(self, role: Role, values: Mapping[str, str]) -> dict[str, Any]:
        """The settings of an ordinary launch."""
        settings: dict[str, Any] = {
            "transports": list(self.transports),
            "state": values["state"],
            "exit_on_stdin_close": True,
        }
        if role is Role.SERVER:
            settings["bind_addresses"] = dict.fromkeys(self.transports, "127.0.0.1:0")
            settings["target"] = values["udp-target" if self.mode.datagrams else "target"]
        if self.mode is not Mode.SOCKS5:
            settings["mode"] = self.mode.value
            if role is Role.CLIENT:
                settings["reach"] = values["reach"]
        if self.options:
            settings["options"] = self.options
        return settings

    async def close(self) -> None:
        """End the processes that are left, and remove every file."""
        for pooled in self.pool:
            await pooled.process.kill()
        self.pool.clear()
        for _ in range(3):
            await asyncio.sleep(0)  # what was aborted is closed by the loop
        shutil.rmtree(self.root, ignore_errors=True)


class Front(Peer):
    """A door before something else, so that the tester sees who comes, and sees it first."""

    def __init__(self, recorder: Recorder, channel: str, behind: Address) -> None:
        self.channel = channel
        super().__init__(recorder, "carry")
        self.behind = behind
        self.locals: list[Address] = []
        """From where it has connected."""

    async def serve(self, link: Link) -> None:
        onward = await connect(Recorder(), self.behind, self.channel)
        self.locals.append(onward.local)
        self.onward.append(onward)
        pipe(link, onward)


class Scene:
    """What is there while one case is played.  ``set_up`` before, ``strike`` after."""

    def __init__(self, stage: Stage, recorder: Recorder, input: Mapping[str, Any]) -> None:
        self.stage = stage
        self.recorder = recorder
        self.input = input
        self.place = stage.place()
        self.process = stage.process(stage.role, recorder)
        self.values: dict[str, str] = {}
        self.proxy: Proxy | None = None
        self.extended: ExtendedPort | None = None
        self.cookie = Cookie(self.place.helper / "cookie")
        self.launch: Launch | None = None
        self.links: dict[str, Link] = {}
        self._opened: list[Link] = []
        self.sockets: dict[str, UdpLink] = {}
        """Sockets for datagrams; ``target`` is where a server's are to go."""
        helpers = input.get("helpers", {})
        does = helpers.get("target", "echo")
        self.far = Target(recorder, does)
        """Where traffic comes out that has gone through the transport."""
        self.near: Peer = self.far
        """Where the transport connects to, or its client: the same, unless there is a peer."""
        self.six = Target(recorder, does)
        """The target once more, at ::1."""
        self._helpers = helpers
        self._closed = Taken.make()
        self._busy = Taken.make(listening=True)
        self._peer: Process | None = None
        self._args = NO_ARGS
        self._pooled: Pooled | None = None
        self._earlier = 0
        self._all: list[Peer] = [self.far, self.six]
        self._processes: list[Process] = [self.process]

    # --- before

    async def set_up(self, pooled: Pooled | None = None) -> None:
        """Provide what the case wants, and find out what stands for what in it."""
        stage = self.stage
        anywhere = self._helpers.get("anywhere", False)
        await self.far.open("0.0.0.0" if anywhere else "127.0.0.1")
        with contextlib.suppress(OSError):
            await self.six.open("::1")
        if pooled is None:
            self.place.prepare(self.input.get("state", "present"))
        else:
            self._pooled = pooled
            self.process, self.place = pooled.process, pooled.place
            self.process.recorder = self.recorder
            self._processes = []
            self.recorder.adopt(pooled.recorder.transcript())
        self.values |= {
            "version": stage.dialect.version,
            "stream": stage.dialect.error_stream.value,
            "transport": stage.transports[0],
            "transports": ",".join(stage.transports),
            "state": str(self.place.state),
            "state-files": self.place.state.relative_to(self.place.root).as_posix(),
            "cwd": str(self.place.root / "cwd"),
            "closed": str(self._closed.address),
            "busy": str(self._busy.address),
            "busy-port": str(self._busy.address.port),
            "binds": ",".join(f"{name}-127.0.0.1:0" for name in stage.transports),
            "own": own_address() or "",
            "cookie": str(self.cookie.path),
            "client": "",
        }
        free = free_address()
        self.values |= {"free": str(free), "free-port": str(free.port)}
        if self.input.get("state") == "missing":
            self.values["state-files"] = "state/pt"
        self.values["target"] = str(self.far.address)
        self.values["target-port"] = str(self.far.address.port)
        self.sockets["target"] = await UdpLink.open(self.recorder, "target", "udp")
        self.values["udp-target"] = str(self.sockets["target"].local)
        self.values["reach"] = self.values["target"]
        if stage.peer is not None and stage.role is Role.CLIENT and self.input.get("peer", True):
            await self._set_up_peer_server()
        proxy = self._helpers.get("proxy")
        if proxy is not None:
            self.proxy = Proxy(
                self.recorder,
                proxy.get("does", "connect"),
                type=proxy["type"],
                user=proxy.get("user"),
                password=proxy.get("password"),
                resolve=self._resolve,
            )
            self._all.append(self.proxy)
            self.values["proxy"] = str(await self.proxy.open())
        extended = self._helpers.get("extorport")
        if extended is not None:
            self.cookie.write(extended.get("cookie", "present"))
            self.extended = ExtendedPort(
                self.recorder, self._helpers.get("target", "echo"), self.cookie, extended
            )
            self._all.append(self.extended)
            self.values["extorport"] = str(await self.extended.open())
        self.values["front"] = str(self.near.address)
        self.write_down()

    def write_down(self) -> None:
        """Put what is known into the transcript."""
        stage = self.stage
        if stage.role is Role.SERVER and isinstance(self.near, Front):
            # A transport may have several network connections for one, or one for several.
            ours = self.near.locals[self._earlier :] or self.near.locals
            self.values["client"] = OR.join(map(str, ours))
        # The names that a process is asked for may be a case's own.
        names = self.input.get("settings", {}).get("transports") or list(stage.transports)
        settings = {**self.input.get("settings", {}), **self.input.get("raw", {})}
        launch = {} if self.launch is None else self.launch.as_json()
        self.recorder.launch |= {
            **launch,
            "role": stage.role.value,
            "dialect": stage.dialect.version,
            "transports": fill(names, self.values),
            "proxy": settings.get("proxy") is not None,
            "values": dict(self.values),
            "capabilities": list(stage.capabilities),
        }

    def _resolve(self, target: Address) -> Address:
        """Where the tester's proxy connects to: a name is the target's, whatever it is."""
        return target if target.ip is not None else Address("127.0.0.1", target.port)

    async def _set_up_peer_server(self) -> None:
        """Start the server of the transport, with a door before it."""
        await self._start_peer(Role.SERVER)
        assert self._peer is not None
        method = self._peer.methods.get(self.stage.transports[0])
        if not isinstance(method, SMethod):
            raise PtipcError("the other end of the transport did not start")
        self._args = method.args
        if self.stage.mode.datagrams:
            self.values["reach"] = str(method.address)  # there is no door for datagrams
            return
        self.near = Front(self.recorder, "target", method.address)
        self.far.channel = "far"
        self._all.append(self.near)
        await self.near.open()
        self.values["target"] = str(self.near.address)
        self.values["target-port"] = str(self.near.address.port)
        self.values["reach"] = self.values["target"]

    async def _start_peer(self, role: Role, args: Args = NO_ARGS) -> None:
        stage = self.stage
        assert stage.peer is not None
        place = stage.place()
        place.prepare("present")
        values = {**self.values, "state": str(place.state), "target": str(self.far.address)}
        launch = launch_of(
            {},
            self._ordinary(role, values, args),
            stage.dialect,
            role,
            command=stage.peer,
            extra=stage.extra,
        )
        self._peer = stage.process(role, Recorder())
        self._processes.append(self._peer)
        await self._peer.start(launch, place)
        with contextlib.suppress(TimeoutError):
            await _within(self._peer.ready.wait(), stage.timeout)

    def _ordinary(self, role: Role, values: Mapping[str, str], args: Args) -> dict[str, Any]:
        """The settings of an ordinary launch; without SOCKS, args are given as options."""
        settings = self.stage.ordinary(role, values)
        if self.stage.mode is not Mode.SOCKS5 and role is Role.CLIENT and args.pairs:
            name = self.stage.transports[0]
            options = dict(settings.get("options", {}))
            options[name] = [*options.get(name, ()), *map(list, args.pairs)]
            settings["options"] = options
        return settings

    async def start(self) -> None:
        """Start the program as the case wants it.  Raises OSError if there is none."""
        if self._pooled is not None:
            self.launch = None
            return
        input = fill(self.input, self.values)
        if self.launch is None:
            self.launch = launch_of(
                input,
                self._ordinary(self.stage.role, self.values, self.args),
                self.stage.dialect,
                self.stage.role,
                command=self.stage.command,
                extra=self.stage.extra,
            )
        self.write_down()
        self.recorder.note("tester", "launch", "start", " ".join(self.launch.command))
        await self.process.start(
            self.launch,
            self.place,
            stdin=input.get("stdin", "open"),
            parent=input.get("parent", False),
        )

    async def restart(self) -> None:
        """Start the same program once more, in the same place."""
        self.process = self.stage.process(self.stage.role, self.recorder)
        self._processes.append(self.process)
        await self.start()

    async def twin(self) -> bool:
        """Start another process like it, beside it, in a place of its own; whether it is ready."""
        assert self.launch is not None
        place = self.stage.place()
        place.prepare("present")
        other = self.stage.process(self.stage.role, Recorder())
        self._processes.append(other)
        texts = {
            name: text.replace(str(self.place.root), str(place.root))
            for name, text in self.launch.set.items()
        }
        argv = [word.replace(str(self.place.root), str(place.root)) for word in self.launch.argv]
        await other.start(
            Launch(command=self.launch.command, argv=argv, set=texts, extra=self.launch.extra),
            place,
        )
        with contextlib.suppress(TimeoutError):
            await _within(other.ready.wait(), self.stage.timeout)
        return other.done and bool(other.methods)

    # --- connections

    def port(self, transport: str | None = None) -> Address | None:
        """Where the transport listens; None: it has not said so."""
        method = self.process.methods.get(transport or self.stage.transports[0])
        if method is None:
            return None
        address = method.address
        if address.ip is not None and address.ip.is_unspecified:
            return Address("::1" if address.ip.version == 6 else "127.0.0.1", address.port)
        return address

    async def open(
        self, name: str, within: float, *, local: str | None = None, raw: bool = False
    ) -> Link:
        """Open a connection to the transport's port, or a stream to a server through its peer.

        ``raw``: to the port in any case.  Raises OSError, and LookupError if there is no port.
        """
        port = self.port()
        if port is None:
            raise LookupError("no port")
        if self.stage.role is Role.SERVER and self.stage.peer is not None and not raw:
            return await self._open_by_peer(name, port, within)
        link = await connect(self.recorder, port, "port", name, local=local, within=within)
        self._opened.append(link)
        self.values["client"] = str(link.local)
        self.write_down()
        return link

    async def _open_by_peer(self, name: str, port: Address, within: float) -> Link:
        """A stream to the server, by a client that speaks its transport."""
        if not isinstance(self.near, Front):
            self.near = Front(Recorder(), "public", port)
            self._all.append(self.near)
            await self.near.open()
        self.near.behind = port
        self._earlier = len(self.near.locals)
        server = self.process.methods[self.stage.transports[0]]
        args = _joined(server.args if isinstance(server, SMethod) else NO_ARGS, self.stage.args)
        there = await self._port_of_peer(self.near.address, args)
        link = await connect(self.recorder, there, "port", name, within=within)
        self._opened.append(link)
        if self.stage.mode is not Mode.SOCKS5:
            self.write_down()
            return link
        try:
            machine = SocksInitiator.for_dialect(self.stage.dialect, self.near.address, args)
            await link.drive(machine, within)
        except (PtipcError, TimeoutError) as error:
            raise OSError(f"the peer cannot connect: {error}") from None
        self.write_down()
        return link

    async def _port_of_peer(self, server: Address, args: Args) -> Address:
        """Where the client listens that speaks the server's transport; it is started if need be."""
        if self._peer is None:
            self.values["reach"] = str(server)
            await self._start_peer(Role.CLIENT, args)
        assert self._peer is not None
        method = self._peer.methods.get(self.stage.transports[0])
        if not isinstance(method, CMethod):
            raise PtipcError("the other end of the transport did not start")
        return method.address

    async def socket(self, name: str) -> UdpLink:
        """A socket for datagrams to the transport's port; LookupError if there is no port."""
        if name not in self.sockets:
            port = self.port()
            if port is None:
                raise LookupError("no port")
            if self.stage.role is Role.SERVER and self.stage.peer is not None:
                server = self.process.methods[self.stage.transports[0]]
                published = server.args if isinstance(server, SMethod) else NO_ARGS
                port = await self._port_of_peer(port, _joined(published, self.stage.args))
            self.sockets[name] = await UdpLink.open(self.recorder, "port", name, port)
        return self.sockets[name]

    def address_of(self, what: str) -> Address:
        """An address that a step names."""
        target = self.near.address if self.stage.role is Role.CLIENT else self.far.address
        known = {
            "target": target,
            "closed": self._closed.address,
            "name": Address("localhost", target.port),
            "ipv6": Address("::1", self.six.address.port),
            "own": Address(self.values["own"] or "127.0.0.1", target.port),
        }
        if what in known:
            return known[what]
        host, _, port = what.rpartition(":")
        return Address(host.strip("[]"), int(port))

    @property
    def args(self) -> Args:
        """The args that a connection of the transport needs."""
        return _joined(self._args, self.stage.args)

    # --- after

    def leave_process(self) -> None:
        """Let the process live on when everything else is ended."""
        self._processes.remove(self.process)

    async def strike(self, keep: bool) -> None:
        """End everything; ``keep``: another case may use the process."""
        if self._pooled is not None:
            self.process.recorder = Recorder()
            if keep and not self.process.ended.is_set():
                self.stage.pool.append(self._pooled)
            else:
                self._processes.append(self.process)
        for process in self._processes:
            await process.kill()
        for link in self._opened:
            link.abort()
        for socket_ in self.sockets.values():
            socket_.abort()
        for peer in self._all:
            await peer.close()
        self._closed.bound.close()
        self._busy.bound.close()
        await asyncio.sleep(0)  # what was aborted is closed by the loop


def _joined(published: Args, given: Args) -> Args:
    """What a server publishes, and what the user of the tester adds to that."""
    return Args([*published.pairs, *(pair for pair in given.pairs if pair[0] not in published)])


async def _within(waiting: Any, seconds: float) -> None:
    async with asyncio.timeout(seconds):
        await waiting
