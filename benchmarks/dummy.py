"""A transport that does nothing, as an executable: what the benchmarks hold against their peers.

Usage, by a host: python benchmarks/dummy.py [--mapped] [--uvloop]

``--mapped``: the octets pass through a function that changes nothing.  ``--uvloop``: in its loop.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))  # last, so that an installed ptipc is measured

from ptipc.aio import Stream, StreamTransport, map_stream, run
from ptipc.core.escapes import Args


def same(data: bytes) -> bytes:
    return data


async def mapped(stream: Stream, args: Args) -> Stream:
    return map_stream(stream, same, same)


def main(options: list[str]) -> None:
    if "--uvloop" in options:
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    if "--mapped" in options:
        run(StreamTransport("dummy", client=mapped), argv=[])
    run(StreamTransport("dummy"), argv=[])


if __name__ == "__main__":
    main(sys.argv[1:])
