"""How connections leave: by which handshake with an upstream proxy, or from which address."""

from __future__ import annotations

from collections.abc import Iterable

from ptipc.core.codecs import Address, UpstreamProxy
from ptipc.core.errors import LocalProtocolError
from ptipc.core.handshake import Handshake
from ptipc.core.httpconnect import HttpConnectInitiator
from ptipc.core.socks import Credentials, SocksInitiator
from ptipc.core.transports import Capability, capabilities_of

__all__ = ["proxy_problem", "source_address", "upstream_handshake"]


def upstream_handshake(proxy: UpstreamProxy, target: Address) -> Handshake:
    """The initiator that asks a proxy (TOR_PT_PROXY) to connect to a target.

    ``socks4`` is taken for ``socks4a``, since arti writes the one and means the other (C41); its
    user id is the user name.  ``socks5`` with a user name and no password sends an empty password:
    RFC 1929 wants at least one octet, but nothing else says "none", and a made-up octet is wrong to
    every proxy.

    Raises LocalProtocolError if the proxy's protocol cannot say the target or the credentials; the
    text does not show a password.  The machine raises RequestRefused if the proxy says no.
    """
    if proxy.scheme == "http":
        return HttpConnectInitiator(target, proxy.user, proxy.password)
    versions = {"socks4": 4, "socks4a": 4, "socks5": 5}
    if proxy.scheme not in versions:
        raise LocalProtocolError(f"not a type of proxy: {proxy.scheme!r}")
    method = None
    if proxy.user is not None or proxy.password is not None:
        method = Credentials(proxy.user or "", proxy.password or "")
    return SocksInitiator(target, method, version=versions[proxy.scheme])


def proxy_problem(proxy: UpstreamProxy, transports: Iterable[object]) -> str | None:
    """Why some transports cannot use a proxy; None if at least one of them can, or there is none.

    The credentials may not fit its protocol, and datagrams go through no proxy.
    """
    try:
        upstream_handshake(proxy, Address("192.0.2.1", 1))
    except LocalProtocolError as error:
        return str(error)
    carried = [capabilities_of(transport) for transport in transports]
    if carried and not any(Capability.STREAM in each for each in carried):
        return "no transport connects by streams, and a proxy carries nothing else"
    return None


def source_address(host: str, v4: str | None, v6: str | None) -> str | None:
    """The source address for what goes to an IP address, of two that a host has given.

    None: the system chooses, as it does for loopback in any case (PT 1 section 3.2.1).
    """
    source = v6 if ":" in host else v4
    return None if source is None or Address(host, 0).is_loopback else source
