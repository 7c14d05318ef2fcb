"""The smallest transport: it changes nothing.  Try it with ``ptipc demo``."""

from ptipc.aio import StreamTransport, run

if __name__ == "__main__":
    run(StreamTransport("hello", version="1.0"))
