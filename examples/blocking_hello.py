"""The smallest transport in threads: it changes nothing.  Try it with ``ptipc demo``."""

from ptipc.blocking import Stream, StreamTransport, run
from ptipc.core.escapes import Args


def wrap(stream: Stream, args: Args) -> Stream:
    """What a transport does to a network connection: here, nothing."""
    return stream


if __name__ == "__main__":
    run(StreamTransport("hello", client=wrap, server=wrap, version="1.0"))
