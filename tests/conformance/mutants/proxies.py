"""Upstream proxies, as a client uses them: SOCKS5, SOCKS4a and CONNECT."""

from __future__ import annotations

import base64
import re
import socket
from ipaddress import ip_address
from urllib.parse import unquote_to_bytes

from breaking import broken
from streams import exactly

FORM = re.compile(
    r"(http|socks4a|socks5)://(?:([^:@/]*)(?::([^@/]*))?@)?(\[[0-9a-fA-F:.]+\]|[0-9.]+):([0-9]+)"
)


class Proxy:
    def __init__(self, kind: str, where: tuple[str, int], user: bytes, password: bytes) -> None:
        self.kind = kind
        self.where = where
        self.user = user
        self.password = password

    @classmethod
    def parse(cls, text: str) -> Proxy:
        """Raises ValueError."""
        found = FORM.fullmatch(text)
        if found is None:
            raise ValueError("" if broken("proxy-error-text") else "not a proxy that I can use")
        kind, user, password, host, port = found.groups()
        if not 0 < int(port) < 65536:
            raise ValueError("the port of the proxy is none")
        ip_address(host.strip("[]"))
        decode = str.encode if broken("proxy-escapes-kept") else unquote_to_bytes
        return cls(kind, (host.strip("[]"), int(port)), decode(user or ""), decode(password or ""))

    def dial(self, host: str, port: int) -> socket.socket:
        """Raises OSError, and EOFError if the proxy ends."""
        if broken("proxy-looks-up-names"):
            host = socket.getaddrinfo("127.0.0.1", port)[0][4][0] if "." in host else host
        stream = socket.create_connection(self.where, 10)
        try:
            getattr(self, f"dial_{self.kind}")(stream, host, port)
        except BaseException:
            stream.close()
            raise
        return stream

    def dial_socks5(self, stream: socket.socket, host: str, port: int) -> None:
        named = bool(self.user) and not broken("proxy-ignores-user")
        stream.sendall(b"\5\2\0\2" if named else b"\5\1\0")
        method = exactly(stream, 2)[1]
        if method == 2:
            user, password = self.user, self.password
            stream.sendall(b"\1%c%b%c%b" % (len(user), user, len(password), password))
            if exactly(stream, 2)[1]:
                raise ConnectionError("the proxy does not know us")
        elif method != 0:
            raise ConnectionError("the proxy wants something else")
        stream.sendall(b"\5\1\0" + spelled(host) + port.to_bytes(2, "big"))
        answer = stream.recv(4) if broken("proxy-answer-whole") else exactly(stream, 4)
        if len(answer) < 4 or answer[:2] != b"\5\0":
            raise ConnectionRefusedError("the proxy cannot connect")
        size = {1: 4, 4: 16}.get(answer[3])
        exactly(stream, (exactly(stream, 1)[0] if size is None else size) + 2)

    def dial_socks4a(self, stream: socket.socket, host: str, port: int) -> None:
        try:
            ip, name = socket.inet_aton(host), b""
        except OSError:
            ip, name = b"\0\0\0\1", host.encode() + b"\0"
        user = b"" if broken("proxy-ignores-user") else self.user
        stream.sendall(b"\4\1" + port.to_bytes(2, "big") + ip + user + b"\0" + name)
        if exactly(stream, 8)[1] != 0x5A:
            raise ConnectionRefusedError("the proxy cannot connect")

    def dial_http(self, stream: socket.socket, host: str, port: int) -> None:
        host = f"[{host}]" if ":" in host else host
        lines = [f"CONNECT {host}:{port} HTTP/1.1", f"Host: {host}:{port}"]
        if self.user and not broken("proxy-ignores-user"):
            token = base64.b64encode(self.user + b":" + self.password).decode()
            lines.append(f"Proxy-Authorization: Basic {token}")
        stream.sendall("\r\n".join([*lines, "", ""]).encode())
        head = stream.recv(1024) if broken("proxy-early-lost") else b""
        while not head.endswith(b"\r\n\r\n") and b"\r\n\r\n" not in head and len(head) < 65536:
            head += exactly(stream, 1)
        if not re.match(rb"HTTP/1\.[01] 2", head):
            raise ConnectionRefusedError("the proxy cannot connect")


def spelled(host: str) -> bytes:
    for kind, family in ((b"\1", socket.AF_INET), (b"\4", socket.AF_INET6)):
        try:
            return kind + socket.inet_pton(family, host)
        except OSError:
            continue
    return b"\3%c%b" % (len(host), host.encode())
