"""What a transport connects to: the target, the upstream proxy and the Extended ORPort.

Each is the tester's own, behaves as a case wants (also badly), and writes down who came and what
was asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import os
import socket
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

from ptipc.conformance.links import Link, connect, pipe
from ptipc.conformance.recording import Recorder, in_hex
from ptipc.core.codecs import Address
from ptipc.core.errors import PtipcError
from ptipc.core.escapes import NO_ARGS, Args
from ptipc.core.extorport import serialize_cookie_file
from ptipc.core.handshake import Handshake, Reader, Script, Steps
from ptipc.core.httpconnect import HttpConnectResponder
from ptipc.core.socks import SocksResponder
from ptipc.core.socksauth import AuthMethod, NoAuth, Send

__all__ = ["ANSWER", "GREETING", "HASHES", "Cookie", "ExtendedPort", "Peer", "Proxy", "Target"]

WITHIN = 10.0

GREETING = b"220 target\r\n"
"""What a target sends that speaks first."""
ANSWER = b"the answer that comes after the end"
"""What a target sends that waits for the end of what it is sent."""


class Peer:
    """Something that a transport connects to; each connection is a link, and has a task."""

    channel = ""

    def __init__(self, recorder: Recorder, does: str) -> None:
        self.recorder = recorder
        self.does = does
        self.links: list[Link] = []
        self.onward: list[Link] = []
        """The connections that it has made itself."""
        self.arrived = asyncio.Event()
        """Set when a connection comes; whoever waits for one clears it."""
        self.address = Address("127.0.0.1", 0)
        self._server: asyncio.Server | None = None
        self._over = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self, host: str = "127.0.0.1", port: int = 0) -> Address:
        """Begin to listen; raises OSError."""
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Link(self.recorder, self.channel, "", self._accept), host, port
        )
        name = self._server.sockets[0].getsockname()
        host = "127.0.0.1" if name[0] == "0.0.0.0" else str(name[0])
        self.address = Address(host, int(name[1]))
        return self.address

    async def close(self) -> None:
        """Stop listening, and end every connection."""
        self._over = True
        if self._server is not None:
            # Python 3.11 forgets a connection that it has accepted and not yet told us of.
            with contextlib.suppress(NotImplementedError):
                for listener in self._server.sockets:
                    asyncio.get_running_loop().remove_reader(listener.fileno())
            await asyncio.sleep(0)
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for link in (*self.links, *self.onward):
            link.abort()

    def stop_listening(self) -> None:
        """Let whoever connects from now on be refused."""
        if self._server is not None:
            self._server.close()

    def _accept(self, link: Link) -> None:
        if self._over:  # it was accepted before we closed, but asyncio tells us now
            link.abort()
            return
        self.links.append(link)
        link.name = f"{self.channel}{len(self.links)}"
        self.recorder.note("target", self.channel, "opened", f"from {link.peer}", name=link.name)
        self.arrived.set()
        self.spawn(self.serve(link))

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something for as long as this peer is there."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.recorder.note("tester", self.channel, "failed", f"{type(error).__name__}: {error}")

    def note(self, link: Link, who: str, event: str, text: str) -> None:
        """Write down what happened on a connection."""
        self.recorder.note(who, self.channel, event, text, name=link.name)

    async def serve(self, link: Link) -> None:
        """Do with a new connection what this peer does."""
        raise NotImplementedError


# --- the target -----------------------------------------------------------------------------------


class Target(Peer):
    """Where the traffic goes: the server that a SOCKS client asks for, or the ORPort.

    It sends everything back (``echo``), leaves the connection to the script (``manual``), says
    something first (``greet``), answers once it has read the end (``answer``), or ends each
    connection (``close``, ``reset``).
    """

    channel = "target"

    async def serve(self, link: Link) -> None:
        await behave(self, link)


async def behave(peer: Peer, link: Link) -> None:
    """Do what a target does, on a link over which a client's traffic comes."""
    if peer.does == "close":
        link.close()
    elif peer.does == "reset":
        link.reset()
    elif peer.does == "answer":
        await link.until(lambda: False, 60.0)
        peer.note(link, "target", link.ended, f"after {len(link.data)} octets")
        link.write(ANSWER)
        link.write_eof()
    elif peer.does in ("echo", "greet"):
        if peer.does == "greet":
            link.write(GREETING)
        _echo(peer, link)


def _echo(peer: Peer, link: Link) -> None:
    told = False

    def on_data(_: Link) -> None:
        nonlocal told
        if link.data:
            link.write(bytes(link.data))
            link.data.clear()
        if link.ended and not told:
            told = True
            peer.note(link, "target", link.ended, "")
            link.write_eof()

    link.on_data = on_data
    on_data(link)


# --- the upstream proxy ---------------------------------------------------------------------------


class Proxy(Peer):
    """An upstream proxy of one type, for one user or for everybody.

    It connects (``connect``), refuses (``refuse``), reads and keeps silent (``silent``), sends
    what is no answer (``garbage``) or closes (``close``); ``slow`` answers octet by octet, ``busy``
    sends data right behind its answer, ``wordy`` has a long answer.
    """

    channel = "proxy"

    def __init__(
        self,
        recorder: Recorder,
        does: str,
        *,
        type: str,
        user: str | None = None,
        password: str | None = None,
        resolve: Callable[[Address], Address] = lambda target: target,
    ) -> None:
        super().__init__(recorder, does)
        self.type = type
        self.user = user
        self.password = password
        self._resolve = resolve

    async def serve(self, link: Link) -> None:
        if self.does == "close":
            link.close()
            return
        if self.does in ("silent", "garbage"):
            await link.until(lambda: bool(link.data), WITHIN)
            self.note(link, "target", "received", in_hex(bytes(link.data)))
            if self.does == "garbage":
                link.write(b"\x15\x03\x01\x00\x02\x02\x46" * 40)
            return
        try:
            await self._serve(link)
        except (PtipcError, TimeoutError, OSError) as error:
            self.note(link, "tester", "failed", str(error))
            link.close()

    async def _serve(self, link: Link) -> None:
        machine: SocksResponder | HttpConnectResponder | _Socks4Door
        method = _AnyUser()
        if self.type == "http":
            machine = HttpConnectResponder()
        elif self.type == "socks5":
            machine = SocksResponder(NoAuth() if self.user is None else method, versions=(5,))
        else:
            machine = _Socks4Door()
        await link.drive(machine, WITHIN)
        assert machine.target is not None
        user = method if isinstance(machine, SocksResponder) else machine
        asked = {"target": str(machine.target), "user": user.user, "password": user.password}
        self.note(link, "target", "asked", json.dumps(asked))
        if self.does == "refuse":
            machine.refuse(403 if self.type == "http" else 5)
            link.write(machine.data_to_send())
            link.close()
            return
        onward = await connect(
            self.recorder, self._resolve(machine.target), "proxy", f"{link.name}-onward"
        )
        self.onward.append(onward)
        self.note(link, "tester", "onward", str(onward.local))
        machine.grant()
        link.data[:0] = machine.trailing_data
        answer = machine.data_to_send()
        if self.does == "slow":
            await link.send(answer, pieces=1, every=0.02)
        elif self.does == "busy":
            link.write(answer + GREETING)
        elif self.does == "wordy" and self.type == "http":
            first, rest = answer.split(b"\r\n", 1)
            link.write(first + b"\r\nVia: 1.1 proxy\r\nX-Padding: " + b"x" * 2000 + b"\r\n" + rest)
        else:
            link.write(answer)
        pipe(link, onward)


class _AnyUser(AuthMethod):
    """RFC 1929 for whoever comes; what they say is kept."""

    code = 0x02

    def __init__(self) -> None:
        self.user: str | None = None
        self.password: str | None = None

    def serve(self, reader: Reader, send: Send) -> Steps[Args]:
        _, size = yield from reader.exactly(2)
        self.user = (yield from reader.exactly(size)).decode("utf-8", "backslashreplace")
        (size,) = yield from reader.exactly(1)
        self.password = (yield from reader.exactly(size)).decode("utf-8", "backslashreplace")
        send(b"\1\0")
        return NO_ARGS

    def request(self, args: Args, reader: Reader, send: Send) -> Script:
        raise NotImplementedError("nobody asks anybody by this method")


class _Socks4Door(Handshake):
    """The end of SOCKS 4 and 4a that is asked to connect, by a user with any name."""

    password = None

    def __init__(self) -> None:
        self.target: Address | None = None
        self.user: str | None = None
        self._answer = b""
        super().__init__()

    def grant(self) -> None:
        """Tell the client that it is connected."""
        self._answer = b"\0\x5a" + bytes(6)
        self._resume()

    def refuse(self, code: int) -> None:
        """Tell the client that it is not."""
        self._answer = b"\0\x5b" + bytes(6)
        self._resume()

    def _run(self) -> Script:
        head = yield from self._reader.exactly(8)
        port, ip = int.from_bytes(head[2:4], "big"), head[4:]
        user = yield from self._reader.until(b"\0", 1024)
        self.user = user.decode("utf-8", "backslashreplace") or None
        host = socket.inet_ntoa(ip)
        if ip[:3] == bytes(3) and ip[3]:
            name = yield from self._reader.until(b"\0", 1024)
            host = name.decode("utf-8", "backslashreplace")
        self.target = Address(host, port)
        yield 0  # grant() or refuse()
        self._send(self._answer)


# --- the Extended ORPort --------------------------------------------------------------------------


class Cookie:
    """The file with the key to an Extended ORPort, good or bad."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.secret = b""

    def write(self, how: str) -> None:
        """Make the file ``present`` with a new secret, ``missing``, ``short``, ``long``,
        ``empty``, or with a wrong ``header``."""
        self.secret = os.urandom(32)
        data = serialize_cookie_file(self.secret)
        bad = {
            "present": data,
            "short": data[:-1],
            "long": data + b"\n",
            "empty": b"",
            "header": data.replace(b"Extended", b"extended"),
        }
        if how == "missing":
            self.path.unlink(missing_ok=True)
        else:
            self.path.write_bytes(bad[how])


HASHES = (
    b"ExtORPort authentication server-to-client hash",
    b"ExtORPort authentication client-to-server hash",
)
"""What is hashed by the host, and by the transport, in front of the nonces."""
_COMMANDS = {0: "DONE", 1: "USERADDR", 2: "TRANSPORT"}

Handler = Callable[["ExtendedPort", Link], Awaitable[bool]]


class ExtendedPort(Peer):
    """An Extended ORPort that writes down what it is told, and may misbehave at every point.

    ``types``: the authentication types that it offers; ``answer``: its octets to DONE, OKAY if not
    given; ``wrong``: ``hash`` or ``status``; ``silent`` from the start or behind DONE; ``pieces``:
    octet by octet.  What comes behind OKAY is treated as by a ``Target``.
    """

    channel = "extorport"

    def __init__(
        self, recorder: Recorder, does: str, cookie: Cookie, how: Mapping[str, Any]
    ) -> None:
        super().__init__(recorder, does)
        self.cookie = cookie
        self.how = how

    async def serve(self, link: Link) -> None:
        with contextlib.suppress(_Over):
            await self._serve(link)
            return
        self.note(link, "target", link.ended or "stopped", "before it was done")

    async def _serve(self, link: Link) -> None:
        how = self.how
        if how.get("silent") == "start":
            await self._take(link, 1 << 30)
        await self._say(link, bytes.fromhex(how.get("types", "01 00")))
        kind = (await self._take(link, 1))[0]
        self._told(link, "type", kind)
        if kind != 1:
            link.close()
            return
        theirs = await self._take(link, 32)
        self._told(link, "nonce", theirs.hex())
        nonce = os.urandom(32)
        secret = self.cookie.secret
        proof, expected = (
            hmac.new(secret, label + theirs + nonce, hashlib.sha256).digest() for label in HASHES
        )
        if how.get("wrong") == "hash":
            proof = bytes(32)
        await self._say(link, proof + nonce)
        said = await self._take(link, 32)
        self._told(link, "hash", "right" if said == expected else "wrong")
        if said != expected or how.get("wrong") == "status":
            await self._say(link, b"\0")
            with contextlib.suppress(asyncio.TimeoutError):
                async with asyncio.timeout(1.0):  # who goes on all the same is heard
                    while True:
                        await self._command(link)
            link.close()
            return
        await self._say(link, b"\1")
        while (await self._command(link)) != "DONE":
            pass
        if how.get("silent") == "done":
            await self._quiet(link)
            return
        await self._say(link, bytes.fromhex(how.get("answer", "10 00 00 00")))
        if how.get("then") == "close":
            link.close()
            return
        self.note(link, "tester", "okay", "")
        await behave(self, link)

    async def _command(self, link: Link) -> str:
        head = await self._take(link, 4)
        code, size = int.from_bytes(head[:2], "big"), int.from_bytes(head[2:], "big")
        body = await self._take(link, size)
        name = _COMMANDS.get(code, f"{code:#06x}")
        self._told(link, name, body.decode("utf-8", "backslashreplace"))
        return name

    async def _quiet(self, link: Link) -> None:
        """Say nothing, and take note of what is sent all the same."""
        await link.until(lambda: bool(link.data), WITHIN)
        if link.data:
            self._told(link, "early", in_hex(link.take()))

    def _told(self, link: Link, what: str, value: Any) -> None:
        self.note(link, "target", "told", json.dumps([what, value]))

    async def _say(self, link: Link, data: bytes) -> None:
        await link.send(data, pieces=int(self.how.get("pieces", 0)), every=0.005)

    async def _take(self, link: Link, count: int) -> bytes:
        await link.until(lambda: len(link.data) >= count, 60.0)
        if len(link.data) < count:
            raise _Over
        data = bytes(link.data[:count])
        del link.data[:count]
        return data


class _Over(Exception):
    """The other side has ended, or says nothing more."""


def own_address() -> str | None:
    """An IPv4 address of this machine that is not loopback, if there is one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        found = str(probe.getsockname()[0])
    return None if found.startswith("127.") or found == "0.0.0.0" else found
