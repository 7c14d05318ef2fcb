"""One transport inside another: what is obfuscated travels as letters.

What it teaches: ``Nested``, which makes one transport of two, here of the one in ``obfuscated.py``
and of one that spells octets.  The args of each have its name in front: ``obfuscated.cert``.

Try it with ``ptipc demo --transport nested -- python examples/nested.py``.
"""

from __future__ import annotations

from obfuscated import Obfuscated

from ptipc.aio import Nested, Stream, StreamTransport, map_stream, run
from ptipc.core.escapes import Args

DIGITS, LETTERS = b"0123456789abcdef", b"bcdfghjklmnpqrst"
SPELL = bytes.maketrans(DIGITS, LETTERS)
READ = bytes(DIGITS[LETTERS.index(char)] if char in LETTERS else ord("?") for char in range(256))


def spell(data: bytes) -> bytes:
    """Two letters for each octet."""
    return data.hex().encode().translate(SPELL)


class Reading:
    """From letters to octets; the first of a pair may come long before the second."""

    def __init__(self) -> None:
        self._waiting = b""

    def __call__(self, data: bytes) -> bytes:
        data = self._waiting + data
        whole = len(data) // 2 * 2
        self._waiting = data[whole:]
        try:
            return bytes.fromhex(data[:whole].translate(READ).decode())
        except ValueError:
            raise ConnectionAbortedError("that is not what the other end has sent") from None


async def wrap(stream: Stream, args: Args) -> Stream:
    return map_stream(stream, encode=spell, decode=Reading())


spelled = StreamTransport("spelled", client=wrap, server=wrap)
nested = Nested("nested", outer=spelled, inner=Obfuscated(), version="1.0")

if __name__ == "__main__":
    run(nested)
