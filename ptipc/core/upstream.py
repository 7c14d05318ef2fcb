"""Which handshake asks which kind of upstream proxy for a connection."""

from __future__ import annotations

from ptipc.core.codecs import Address, UpstreamProxy
from ptipc.core.errors import LocalProtocolError
from ptipc.core.handshake import Handshake
from ptipc.core.httpconnect import HttpConnectInitiator
from ptipc.core.socks import Credentials, SocksInitiator

__all__ = ["upstream_handshake"]


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
