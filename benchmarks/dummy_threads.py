"""The transport that does nothing, in threads: a peer for the benchmarks.

Usage: python -m benchmarks.startup --peer threads="python benchmarks/dummy_threads.py"

``--mapped``: the octets pass through a function that changes nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))  # last, so that an installed ptipc is measured

from ptipc.blocking import Stream, StreamTransport, map_stream, run
from ptipc.core.escapes import Args


def same(data: bytes) -> bytes:
    return data


def mapped(stream: Stream, args: Args) -> Stream:
    return map_stream(stream, same, same)


def main(options: list[str]) -> None:
    if "--mapped" in options:
        run(StreamTransport("dummy", client=mapped), argv=[])
    run(StreamTransport("dummy"), argv=[])


if __name__ == "__main__":
    main(sys.argv[1:])
