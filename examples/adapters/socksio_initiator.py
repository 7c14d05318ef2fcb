"""An adapter for socksio (on PyPI), a SOCKS client for other people's I/O.

It shows what an adapter looks like, and does not need ptipc:

    ptipc check adapter -- python examples/adapters/socksio_initiator.py

The octets of the peer are given to socksio as they come, as httpcore does.  It needs each message
in one piece and nothing behind it, and says so (``ways``), unless it is started with ``--pieces``.
"""

from __future__ import annotations

import ipaddress
import json
import sys
from importlib import metadata
from typing import Any

import socksio
from socksio import socks4, socks5


class Refused(Exception):
    """The peer said no, with a number."""


class Client:
    """One end of an exchange: what socksio does when a program asks it for a connection."""

    def __init__(self, settings: dict[str, Any]) -> None:
        host, _, port = settings["target"].rpartition(":")
        self.target = (host.strip("[]"), int(port))
        self.user = settings.get("user")
        self.password = settings.get("password", "")
        self.bound: str | None = None
        if settings.get("version", 5) == 4:
            self.connection: Any = socksio.SOCKS4Connection(user_id=(self.user or "").encode())
            kind = socks4.SOCKS4Request if is_ipv4(self.target[0]) else socks4.SOCKS4ARequest
            self.connection.send(kind.from_address(socks4.SOCKS4Command.CONNECT, self.target))
        else:
            self.connection = socksio.SOCKS5Connection()
            methods = [socks5.SOCKS5AuthMethod.NO_AUTH_REQUIRED]
            if self.user is not None:
                methods.insert(0, socks5.SOCKS5AuthMethod.USERNAME_PASSWORD)
            self.connection.send(socks5.SOCKS5AuthMethodsRequest(methods))

    def receive(self, data: bytes) -> None:
        reply = self.connection.receive_data(data)
        if isinstance(reply, socks5.SOCKS5AuthReply):
            if reply.method == socks5.SOCKS5AuthMethod.NO_AUTH_REQUIRED:
                self.request()
            elif reply.method == socks5.SOCKS5AuthMethod.NO_ACCEPTABLE_METHODS:
                raise Refused(255)
            elif self.user is None:
                raise socksio.ProtocolError("a method that was not offered")
            else:
                self.connection.send(
                    socks5.SOCKS5UsernamePasswordRequest(self.user.encode(), self.password.encode())
                )
        elif isinstance(reply, socks5.SOCKS5UsernamePasswordReply):
            if not reply.success:
                raise socksio.ProtocolError("the user name or the password is wrong")
            self.request()
        elif reply.reply_code in (
            socks4.SOCKS4ReplyCode.REQUEST_GRANTED,
            socks5.SOCKS5ReplyCode.SUCCEEDED,
        ):
            host = f"[{reply.addr}]" if ":" in reply.addr else reply.addr
            self.bound = f"{host}:{reply.port}"
        else:
            raise Refused(reply.reply_code[0])

    def request(self) -> None:
        self.connection.send(
            socks5.SOCKS5CommandRequest.from_address(socks5.SOCKS5Command.CONNECT, self.target)
        )


def is_ipv4(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).version == 4
    except ValueError:
        return False


def run(settings: dict[str, Any], script: list[dict[str, Any]]) -> dict[str, Any]:
    if settings.get("args"):
        return {"skip": "socksio does not know the args of a transport"}
    try:
        client = Client(settings)
    except socksio.SOCKSError as error:
        return {"error": repr(error), "said": [""] * (len(script) + 1)}
    said = [client.connection.data_to_send().hex()]
    failure: Exception | None = None
    for step in script:
        try:
            if failure is None and "receive" in step:
                client.receive(bytes.fromhex(step["receive"]))
            elif failure is None:
                failure = EOFError("the exchange was not over")
        except (socksio.SOCKSError, NotImplementedError, Refused) as error:
            failure = error
        said.append(client.connection.data_to_send().hex())
    if isinstance(failure, Refused):
        return {"error": "refused", "code": failure.args[0], "said": said}
    if failure is not None or client.bound is None:
        return {"error": repr(failure), "said": said}
    return {"ok": {"done": True, "bound": client.bound}, "said": said}


INTRODUCTION = {
    "version": 1,
    "name": "socksio",
    "implementation": metadata.version("socksio"),
    "language": "python",
    "ops": ["socks/initiator"],
    "ways": ["split"] if "--pieces" in sys.argv else [],
}

for line in sys.stdin:
    asked = json.loads(line)
    if asked["cmd"] == "stop":
        break
    told = INTRODUCTION
    if asked["cmd"] == "run":
        told = {"seq": asked["seq"], **run(asked["input"], asked["script"])}
    print(json.dumps(told), flush=True)
