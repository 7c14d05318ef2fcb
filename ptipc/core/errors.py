"""What can go wrong, and whose fault it is.

``LocalProtocolError``
    our caller asked for something the protocol does not allow.
``RemoteProtocolError``
    the peer said something the protocol does not allow.
``Refused``
    the peer understood, and said no.
``ConfigError``
    whoever started us configured us wrongly; it carries the line to print before exiting.

Any other exception out of ``ptipc.core`` is a bug, except the ``ValueError`` by which a codec says
what is wrong with one text; its caller adds where the text came from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ptipc.core.dialects import Dialect
    from ptipc.core.messages import Message

__all__ = [
    "ConfigError",
    "LocalProtocolError",
    "ProtocolError",
    "PtipcError",
    "Refused",
    "RemoteProtocolError",
]


class PtipcError(Exception):
    """Anything that ``ptipc`` raises on purpose."""


class ProtocolError(PtipcError):
    """One of the two ends broke a rule of the protocol."""


class LocalProtocolError(ProtocolError):
    """Our caller asked for something that the protocol does not allow."""


class RemoteProtocolError(ProtocolError):
    """The peer said something that the protocol does not allow."""


class Refused(PtipcError):
    """The peer understood the request and refused it.

    ``code`` is the protocol's own number for the reason (a SOCKS reply code, an HTTP status).
    """

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code

    def __reduce__(self) -> tuple[type[Refused], tuple[str, int]]:
        return type(self), (str(self), self.code)


class ConfigError(PtipcError):
    """Whoever started us configured us wrongly.

    ``message`` is the line to say before exiting: a ``VERSION-ERROR``, an ``ENV-ERROR`` or a
    ``PROXY-ERROR`` (PT 1 section 3.3.1 and 3.3.2, PT 3.0 section 1.2.1 and 1.2.2).  ``dialect`` is
    what to say it in; from it follows the stream (C9).  Before a ``PROXY-ERROR``, and only then,
    ``VERSION`` has to be said with the dialect's ``version`` (C11, C12).
    """

    def __init__(self, message: Message, text: str, dialect: Dialect) -> None:
        super().__init__(text)
        self.message = message
        self.dialect = dialect

    def __reduce__(self) -> tuple[type[ConfigError], tuple[Message, str, Dialect]]:
        return type(self), (self.message, str(self), self.dialect)
