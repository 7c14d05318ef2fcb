"""A transport process in plain sockets, without a line of ptipc: what mutants are made from.

It leaves the octets as they are, and speaks PT 1 and 2.0, which have everything in the environment.
``MUTANT`` there names the one rule that it breaks (see ``catalogue``); without it, none.
"""

import os
import re
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import extorport
import proxies
import socks
from breaking import broken

VARIABLE = "TOR_PT_"
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
USABLE = re.compile(r"known|hello|foo|bar")
"""The names of the transports that it has; they are all the same."""

OPTION = r"(?:[^\\:;=]|\\.)+:(?:[^\\;=]|\\.)+=(?:[^\\;]|\\.)*"
OPTIONS = re.compile(f"{OPTION}(?:;{OPTION})*")

PARENT = os.getppid()

CODES = {"ENV-ERROR": 64, "PROXY-ERROR": 69, "VERSION-ERROR": 78}


class Bad(Exception):
    """A setting that cannot be used."""


def setting(name: str) -> str:
    return os.environ.get(VARIABLE + name, "")


class Conversation:
    """What is said to the host."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.end = "\r\n" if broken("line-crlf") else "\n"
        self._lock = threading.Lock()

    @property
    def modern(self) -> bool:
        return self.version == "2"

    def say(self, line: str, error: bool = False) -> None:
        stream = 2 if error and self.modern and not broken("errors-on-stdout") else 1
        if line.startswith("VERSION ") and broken("version-on-stderr"):
            stream = 2
        with self._lock:
            os.write(stream, (line + self.end).encode())

    def fail(self, keyword: str, text: str) -> None:
        self.say(f"{keyword} {text}" if text else keyword, error=True)
        if broken(f"{keyword.lower()}-goes-on"):
            time.sleep(600)
        code = CODES[keyword] if self.modern else 1
        if broken(f"exit-{keyword.lower()}"):
            code = 1
        os._exit(code)


# --- settings -------------------------------------------------------------------------------------


def address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise Bad(f"not an address and a port: {text}")
    return literal(host), int(port)


def literal(host: str) -> str:
    """An IP address, which is in brackets if it is of version 6."""
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        ip = ip_address(bare)
    except ValueError:
        raise Bad(f"not an address: {host}") from None
    if (ip.version == 6) != host.startswith("["):
        raise Bad(f"not an address in its brackets: {host}")
    return bare


def outbound(name: str, version: int) -> str:
    text = setting(name)
    if broken("outbound-unchecked"):
        return ""
    if text and ip_address(literal(text)).version != version:
        raise Bad(f"not an address of version {version}: {text}")
    return text.strip("[]")


def names(text: str) -> list[str]:
    if broken("name-any"):
        return text.split(",")
    found = [name for name in dict.fromkeys(text.split(",")) if NAME.fullmatch(name)]
    if not found:
        raise Bad(f"no names of transports: {text}")
    return found


# --- both roles -----------------------------------------------------------------------------------


class Process:
    def __init__(self, said: Conversation) -> None:
        self.said = said
        self.client = bool(setting("CLIENT_TRANSPORTS"))
        if self.client == bool(setting("SERVER_TRANSPORTS")) and not broken("both-roles"):
            raise Bad("neither a client nor a server, or both")
        self.state()
        self.names = names(setting("CLIENT_TRANSPORTS") or setting("SERVER_TRANSPORTS"))
        self.proxy: proxies.Proxy | None = None
        self.sources = {
            4: outbound("OUTBOUND_BIND_ADDRESS_V4", 4),
            6: outbound("OUTBOUND_BIND_ADDRESS_V6", 6),
        }
        self.binds: dict[str, tuple[str, int]] = {}
        self.target: tuple[str, int] | None = None
        self.extended: tuple[str, int] | None = None
        if not self.client:
            self.read_server()
        self.connections = 0
        self.ending = False
        self.listeners: list[socket.socket] = []
        signal.signal(signal.SIGTERM, self.on_term)
        signal.signal(signal.SIGINT, self.on_int)

    def state(self) -> None:
        """Like an author who keeps a key there, and one who does not look where."""
        if broken("state-outside"):
            (Path.home() / ".hello").write_text("a key")
        if not setting("STATE_LOCATION"):
            return
        where = Path(setting("STATE_LOCATION"))
        if broken("state-not-made"):
            (where / "key").write_text("a key")
        elif where.is_dir() or not where.exists():
            where.mkdir(parents=True, exist_ok=True)
            (where / "key").write_text("a key")
            (where / "key").chmod(0o666 if broken("state-open") else 0o600)

    def read_server(self) -> None:
        for entry in filter(None, setting("SERVER_BINDADDR").split(",")):
            name, dash, where = entry.partition("-")
            if not dash or name in self.binds:
                raise Bad(f"not an address for a transport: {entry}")
            self.binds[name] = address(where)
        self.target = address(setting("ORPORT")) if setting("ORPORT") else None
        self.extended = (
            address(setting("EXTENDED_SERVER_PORT")) if setting("EXTENDED_SERVER_PORT") else None
        )
        if not self.target and not self.extended:
            raise Bad("no place to bring clients to")
        if self.extended and not setting("AUTH_COOKIE_FILE"):
            raise Bad("no cookie for the Extended ORPort")
        options = setting("SERVER_TRANSPORT_OPTIONS")
        if options and not OPTIONS.fullmatch(options) and not broken("options-unread"):
            raise Bad(f"not options: {options}")

    # --- the conversation

    def start(self) -> None:
        self.say_version()
        if self.client and not broken("proxy-done-late"):
            self.take_proxy()
        if broken("noise"):
            self.said.say("listening on the loopback")
        if not self.said.modern:
            self.log_the_start()
        for name in self.names:
            if USABLE.fullmatch(name) or broken("unknown-error") or broken("name-any"):
                self.start_one(name)
        if broken("method-unasked"):
            self.start_one("known")
        if self.client and broken("proxy-done-late"):
            self.take_proxy()
        self.say_done()

    def say_version(self) -> None:
        line = "VERSION 1.0" if broken("version-other") else f"VERSION {self.said.version}"
        if not (broken("version-missing") or broken("version-late")):
            self.said.say(line)
        if broken("status-in-2") or not self.said.modern:
            value = "" if broken("status-no-value") else "=plain"
            self.said.say(f"STATUS TYPE=version IMPLEMENTATION{value} VERSION=1.0")

    def log_the_start(self) -> None:
        line = r'LOG SEVERITY=notice MESSAGE="up: \"plain\""'
        if broken("log-octal"):
            line = r'LOG SEVERITY=notice MESSAGE="up: \303\251"'
        if broken("log-severity"):
            line = 'LOG SEVERITY=fatal MESSAGE="up"'
        if broken("log-other-edition"):
            line = "LOG INFO up"
        self.said.say(line)
        elsewhere = self.extended and not ip_address(self.extended[0]).is_loopback
        if elsewhere and not broken("extorport-no-warning"):
            self.said.say('LOG SEVERITY=warning MESSAGE="the ExtORPort is elsewhere"')

    def take_proxy(self) -> None:
        text = setting("PROXY")
        if not text:
            if broken("proxy-done-without"):
                self.said.say("PROXY DONE")
            return
        try:
            self.proxy = proxies.Proxy.parse(text)
        except ValueError as error:
            if not broken("proxy-bad-silent"):
                self.said.fail("PROXY-ERROR", str(error))
            return
        if not broken("proxy-done-missing"):
            self.said.say("PROXY DONE")

    def start_one(self, name: str) -> None:
        where = self.binds.get(name, ("127.0.0.1", 0))
        if self.client and broken("listens-everywhere"):
            where = ("0.0.0.0", 0)
        if broken("bind-ignored"):
            where = ("127.0.0.1", 0)
        word = "CMETHOD" if self.client else "SMETHOD"
        if not USABLE.fullmatch(name) and broken("unknown-error"):
            self.said.say(f"{word}-ERROR {name} no such transport", error=True)
            return
        family = socket.AF_INET6 if ":" in where[0] else socket.AF_INET
        listener = socket.socket(family)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(where)
        except OSError as error:
            if broken("bind-failure-fatal"):
                sys.exit(1)
            if not broken("bind-failure-silent"):
                self.said.say(f"{word}-ERROR {name} {error.strerror}", error=True)
            return
        listener.listen(128)
        self.listeners.append(listener)
        self.said.say(self.method_line(word, name, listener))
        if broken("method-twice"):
            self.said.say(self.method_line(word, name, listener))
        if broken("port-closed"):
            listener.close()
            return
        in_background(self.accept, listener, name)

    def method_line(self, word: str, name: str, listener: socket.socket) -> str:
        host, port = listener.getsockname()[:2]
        host = f"[{host}]" if ":" in host else host
        protocol = "socks5 "
        if broken("method-host-name"):
            host = "localhost"
        if broken("method-port-0"):
            port = 0
        if broken("method-name"):
            name = name.upper()
        if broken("method-socks5-upper"):
            protocol = "SOCKS5 "
        if broken("method-socks4"):
            protocol = "socks4 "
        if broken("method-double-blank"):
            protocol += " "
        if self.client:
            tail = " optional-args" if broken("method-more-words") else ""
            return f"{word} {name} {protocol}{host}:{port}{tail}"
        args = r"key=a\=b\,c"
        if broken("args-unescaped"):
            args = "key=a=b,c"
        if broken("args-empty"):
            args = ""
        return f"{word} {name} {host}:{port} ARGS:{args}"

    def say_done(self) -> None:
        done = "CMETHODS DONE" if self.client else "SMETHODS DONE"
        if broken("done-unfinished"):
            os.write(1, done.encode())
        elif broken("done-buffered"):
            sys.stdout.write(f"{done}\n")
        elif not broken("done-missing"):
            self.said.say(done)
        if broken("done-twice"):
            self.said.say(done)
        if broken("version-late"):
            self.said.say(f"VERSION {self.said.version}")
        if broken("ends-when-ready"):
            os._exit(0)

    # --- its end

    def on_term(self, *_: object) -> None:
        if broken("term-goodbye"):
            self.said.say("CMETHODS DONE")
        if not broken("term-ignored"):
            os._exit(1 if broken("term-code") else 0)

    def on_int(self, *_: object) -> None:
        if broken("int-ignored"):
            return
        if self.ending or not self.connections:
            os._exit(0)
        self.ending = True

    def wait(self) -> None:
        wanted = setting("EXIT_ON_STDIN_CLOSE") == "1"
        if broken("stdin-unasked"):
            wanted = True
        if broken("stdin-any-value"):
            wanted = bool(setting("EXIT_ON_STDIN_CLOSE"))
        if wanted and not broken("stdin-ignored"):
            in_background(self.watch_stdin)
        while not (self.ending and not self.connections):
            time.sleep(0.1)
            if os.getppid() != PARENT and not broken("orphan-stays"):
                break
        os._exit(0)

    def watch_stdin(self) -> None:
        try:
            while os.read(0, 4096) and not broken("stdin-data-ends"):
                pass
        except OSError:
            pass
        if broken("stdin-waits-for-connections"):
            self.ending = True
            return
        os._exit(1 if broken("stdin-code") else 0)

    # --- connections

    def accept(self, listener: socket.socket, name: str) -> None:
        serve = self.serve_client if self.client else self.serve_server
        while not self.ending:
            stream, peer = listener.accept()
            if broken("one-at-a-time"):
                self.guarded(serve, stream, name, peer)
            else:
                in_background(self.guarded, serve, stream, name, peer)

    def guarded(self, serve: Callable[..., None], stream: socket.socket, *rest: object) -> None:
        self.connections += 1
        try:
            serve(stream, *rest)
        except (OSError, EOFError, ValueError):
            if broken("garbage-is-fatal"):
                os._exit(1)
        finally:
            self.connections -= 1
            stream.close()

    def serve_client(self, stream: socket.socket, name: str, peer: tuple[str, int]) -> None:
        def dial(host: str, port: int) -> socket.socket:
            if broken("log-after-done"):
                self.said.say(f"CMETHOD-ERROR {name} somebody came")
            return self.dial(host, port)

        remote = socks.serve(stream, dial, json_too=self.said.modern)
        if remote is not None:
            relay(stream, remote)

    def serve_server(self, stream: socket.socket, name: str, peer: tuple[str, int]) -> None:
        host = f"[{peer[0]}]" if ":" in peer[0] else peer[0]
        if broken("address-on-disk"):
            (Path(setting("STATE_LOCATION")) / "clients").write_text(host)
        if broken("log-client-address") and not self.said.modern:
            self.said.say(f'LOG SEVERITY=info MESSAGE="{host} came"')
        if self.extended is None or broken("extorport-unused"):
            assert self.target is not None
            relay(stream, socket.create_connection(self.target, 10))
            return
        try:
            remote = extorport.connect(
                self.extended, setting("AUTH_COOKIE_FILE"), name, f"{host}:{peer[1]}", stream
            )
        except (OSError, EOFError):
            if not broken("extorport-falls-back") or self.target is None:
                raise
            remote = socket.create_connection(self.target, 10)
        relay(stream, remote)

    def dial(self, host: str, port: int) -> socket.socket:
        if self.proxy is not None and not broken("proxy-bypassed"):
            try:
                return self.proxy.dial(host, port)
            except (OSError, EOFError):
                if not broken("proxy-falls-back"):
                    raise
        error: OSError = OSError("no address")
        for family, _, _, _, where in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            source = self.sources[6 if family == socket.AF_INET6 else 4]
            if ip_address(where[0]).is_loopback and not broken("outbound-loopback"):
                source = ""
            if broken("outbound-ignored"):
                source = ""
            try:
                return socket.create_connection(where[:2], 10, (source, 0) if source else None)
            except OSError as failure:
                error = failure
        raise error


# --- carrying -------------------------------------------------------------------------------------


def in_background(work: Callable[..., object], *args: object) -> threading.Thread:
    thread = threading.Thread(target=work, args=args, daemon=True)
    thread.start()
    return thread


def relay(one: socket.socket, other: socket.socket) -> None:
    with other:
        if broken("greeting"):
            other.sendall(b"plain/1.0\n")
        for stream in (one, other):
            stream.settimeout(5 if broken("relay-idle") else None)
        back = in_background(pump, other, one)
        pump(one, other)
        back.join()


def pump(source: socket.socket, sink: socket.socket) -> None:
    count = 0
    try:
        while data := source.recv(65536):
            if broken("relay-corrupts") and count <= 70000 < count + len(data):
                at = 70000 - count
                data = data[:at] + bytes([data[at] + 1 & 255]) + data[at + 1 :]
            count += len(data)
            if broken("relay-cuts") and count > 100_000:
                break
            sink.sendall(data)
        if broken("relay-eof-lost"):
            return
        if broken("relay-eof-ends-all"):
            source.shutdown(socket.SHUT_RDWR)
            sink.shutdown(socket.SHUT_RDWR)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        if broken("relay-reset-lost"):
            return
        for stream in (source, sink):
            try:
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                stream.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def main() -> None:
    offered = setting("MANAGED_TRANSPORT_VER").split(",")
    known = [version for version in ("2", "1") if version in offered]
    if broken("version-oldest"):
        known.reverse()
    said = Conversation(known[0] if known else "1")
    if broken("version-presumed") and offered == [""]:
        known = ["1"]
    if not any(offered) and not known:
        said.fail("ENV-ERROR", "no TOR_PT_MANAGED_TRANSPORT_VER")
    elif not known:
        said.version = "2"
        line = "VERSION-ERROR 1 or 2" if broken("version-error-text") else ""
        if broken("version-error-silent"):
            os._exit(78)
        os.write(1, f"{line or 'VERSION-ERROR no-version'}\n".encode())
        os._exit(1 if broken("exit-version-error") else 78)
    try:
        if broken("env-error-late"):
            said.say(f"VERSION {said.version}")
        process = Process(said)
    except Bad as error:
        if broken("env-error-silent"):
            os._exit(64)
        said.fail("ENV-ERROR", "" if broken("env-error-text") else str(error))
        raise SystemExit(0) from None
    process.start()
    process.wait()


if __name__ == "__main__":
    main()
