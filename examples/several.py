"""One transport connection over several network connections.

What it teaches: a stream without a network connection of its own (``network`` is None), and a
listener that puts together what belongs together.  The client opens as many connections as the arg
``lanes`` says, and sends the same token on each.  Then the pieces of the stream go round: the first
on the first lane, the next on the next.  So each end knows where the next one comes, and a lane
that is slow slows down the sender.

Try it with ``ptipc demo --transport several -- python examples/several.py``.
"""

from __future__ import annotations

import asyncio
import os

from ptipc.aio import Listener, Network, Stream, StreamListener, run
from ptipc.core.codecs import Address
from ptipc.core.escapes import NO_ARGS, Args

LANES = 3
MOST = 16
TOKEN = 16
PIECE = 1 << 14  # octets in a piece, at most
PATIENCE = 20.0  # seconds that the first lane waits for the others


class Several:
    """The transport."""

    name = "several"
    version = "1.0"

    def dialer(self, args: Args, network: Network) -> Dialer:
        lanes = int(args.get("lanes", LANES))
        if not 1 <= lanes <= MOST:
            raise ValueError(f"not between 1 and {MOST} lanes: {lanes}")
        return Dialer(lanes, network)

    def listener(self, options: Args, network: Network) -> Listener:
        return Server(network)


class Dialer:
    """Opens all lanes of a stream."""

    def __init__(self, count: int, network: Network) -> None:
        self._count = count
        self._network = network

    async def dial(self, target: Address) -> Bundle:
        token = os.urandom(TOKEN)
        lanes: list[Lane] = []
        try:
            for index in range(self._count):
                lanes.append(Lane(await self._network.dial(target)))
                await lanes[-1].stream.send(token + bytes([self._count, index]))
        except BaseException:
            for lane in lanes:
                await lane.stream.aclose()
            raise
        return Bundle(lanes)


class Server:
    """The server side before it listens."""

    args = NO_ARGS

    def __init__(self, network: Network) -> None:
        self._network = network

    async def listen(self, address: Address) -> StreamListener:
        return Acceptor(await self._network.listen(address))


class Acceptor:
    """Accepts lanes, and hands on the bundles that are complete."""

    def __init__(self, listener: StreamListener) -> None:
        self._listener = listener
        self._found: dict[bytes, dict[int, Lane]] = {}
        self._complete: asyncio.Queue[Bundle | None] = asyncio.Queue()
        self._tasks = {asyncio.create_task(self._accept())}

    @property
    def address(self) -> Address:
        return self._listener.address

    async def accept(self) -> Stream:
        bundle = await self._complete.get()
        if bundle is None:
            self._complete.put_nowait(None)
            raise OSError("the listener is closed")
        return bundle

    async def aclose(self) -> None:
        await self._listener.aclose()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        while not self._complete.empty():
            if (bundle := self._complete.get_nowait()) is not None:
                await bundle.aclose()
        self._complete.put_nowait(None)

    async def _accept(self) -> None:
        try:
            while True:
                task = asyncio.create_task(self._take(Lane(await self._listener.accept())))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        except OSError:
            self._complete.put_nowait(None)

    async def _take(self, lane: Lane) -> None:
        """Put a lane where it belongs, and see to it that it does not wait there for ever."""
        token = b""
        try:
            async with asyncio.timeout(PATIENCE):
                if not await lane.hold(TOKEN + 2):
                    raise ConnectionResetError("nothing was said")
                hello = lane.take(TOKEN + 2)
                token, count, index = hello[:TOKEN], *hello[TOKEN:]
                lanes = self._found.setdefault(token, {})
                if index in lanes or not index < count <= MOST:
                    raise ConnectionAbortedError("not a lane of ours")
                lanes[index] = lane
                if len(lanes) < count:
                    await lane.joined.wait()
                    return
        except (OSError, TimeoutError):
            self._found.pop(token, None)
            await lane.stream.aclose()
        except asyncio.CancelledError:
            if not lane.joined.is_set():
                await lane.stream.aclose()
            raise
        else:
            del self._found[token]
            for other in lanes.values():
                other.joined.set()
            self._complete.put_nowait(Bundle([lanes[index] for index in range(count)]))


class Lane:
    """One of the network connections, and what has come on it."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.joined = asyncio.Event()
        self.held = b""

    async def hold(self, count: int) -> bool:
        """Wait for so many octets; False if there are none.  To be cancelled loses none."""
        while len(self.held) < count:
            data = await self.stream.receive()
            if not data and self.held:
                raise ConnectionResetError("a lane ended within a piece")
            if not data:
                return False
            self.held += data
        return True

    def take(self, count: int) -> bytes:
        data, self.held = self.held[:count], self.held[count:]
        return data


class Bundle:
    """A stream over several lanes; it ends when the lane does whose turn it is."""

    network = None
    half_close = True

    def __init__(self, lanes: list[Lane]) -> None:
        self._lanes = lanes
        self._sent = 0
        self._received = 0
        self._left = b""
        self._heard_all = False

    @property
    def peer(self) -> Address | None:
        return self._lanes[0].stream.peer

    @property
    def local(self) -> Address | None:
        return self._lanes[0].stream.local

    async def receive(self, limit: int = PIECE) -> bytes:
        while not self._left and not self._heard_all:
            lane = self._lanes[self._received % len(self._lanes)]
            if await lane.hold(2):
                size = int.from_bytes(lane.held[:2], "big")
                await lane.hold(2 + size)
                self._left = lane.take(2 + size)[2:]
                self._received += 1
            else:
                self._heard_all = True
        data, self._left = self._left[:limit], self._left[limit:]
        return data

    async def send(self, data: bytes) -> None:
        for start in range(0, len(data), PIECE):
            piece = data[start : start + PIECE]
            lane = self._lanes[self._sent % len(self._lanes)]
            self._sent += 1
            await lane.stream.send(len(piece).to_bytes(2, "big") + piece)

    async def send_eof(self) -> None:
        for lane in self._lanes:
            await lane.stream.send_eof()

    async def aclose(self) -> None:
        for lane in self._lanes:
            await lane.stream.aclose()


if __name__ == "__main__":
    run(Several())
