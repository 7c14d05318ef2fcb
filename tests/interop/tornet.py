"""A private Tor network on loopback: authorities, a relay, bridges and clients, all real.

Three authorities and an exit are the least that is robust: a client's circuit is the bridge, one of
the authorities, and the exit.  Nothing leaves the machine, for every tor is bound to 127.0.0.1.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from attrs import define, field

from tests.interop.processes import wait_for_end

AUTHORITIES = ("auth0", "auth1", "auth2")
EXIT = "exit"

EXCHANGE = 2
"""Seconds that the authorities have for their votes, and then for their signatures."""
FIRST_VOTE = 4.5
"""Seconds after the start of the authorities at which they vote: the exit has to be known then."""
INTERVAL = 30
"""Seconds between votes.  A tor that has to end right after one may hang, so no more of them."""


class NetworkError(Exception):
    """Something in the network is not as it has to be."""


def unused_ports() -> Iterator[int]:
    """Ports that are free, and that no outgoing connection takes before tor does."""
    for port in random.sample(range(12000, 32000), 2000):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        yield port


@define(eq=False)
class Node:
    """A tor: its directory, its configuration, and what it logs."""

    directory: Path
    empty: Path
    """A file with nothing in it."""
    lines: list[str] = field(factory=list)
    socks: int = 0
    """The port for a client's applications."""
    log: str = field(default="", init=False)
    """What has been read of its log so far."""
    transports: list[int] = field(factory=list, init=False)
    """The transport processes that it has started."""
    _unread: int = field(default=0, init=False)
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self) -> None:
        torrc = self.directory / "torrc"
        torrc.write_text("\n".join(self.lines) + "\n")
        words = ["tor", "-f", str(torrc), "--defaults-torrc", str(self.empty), "--hush"]
        with open(self.directory / "output", "wb") as output:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment(self.directory),
            )

    def read(self) -> str:
        """What it has logged since this was asked before."""
        path = self.directory / "log"
        if not path.exists():
            return ""
        with open(path, "rb") as file:
            file.seek(self._unread)
            # Only whole lines; the rest of the last one is still to come.
            new = file.read().rpartition(b"\n")
        self._unread += len(new[0]) + len(new[1])
        text = (new[0] + new[1]).decode("utf-8", "replace")
        self.log += text
        self.transports += map(int, re.findall(r"has spawned with PID '(\d+)'", text))
        return text

    def check(self) -> None:
        """Raises NetworkError if it does not run."""
        if self._process is None or self._process.poll() is None:
            return
        self.read()
        output = (self.directory / "output").read_text("utf-8", "replace")
        text = f"{self.directory.name} ended with {self._process.returncode}"
        raise NetworkError(f"{text}:\n{output}{self.log[-5000:]}")

    def wait_for(self, pattern: str, seconds: float = 45.0) -> re.Match[str]:
        """The first place in the log that matches, once there is one."""
        deadline = time.monotonic() + seconds
        looked = 0
        while True:
            self.read()
            if match := re.compile(pattern).search(self.log, looked):
                return match
            looked = len(self.log)
            self.check()
            if time.monotonic() > deadline:
                text = f"{self.directory.name} did not log {pattern!r}"
                raise NetworkError(f"{text}:\n{self.log[-5000:]}")
            time.sleep(0.05)

    def stop(self, seconds: float = 8.0) -> None:
        """End it, and see that its transports end as well.  Raises AssertionError if not."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self.read()
        for pid in self.transports:
            wait_for_end(pid)

    @property
    def fingerprint(self) -> str:
        return (self.directory / "fingerprint").read_text().split()[1]


@define(eq=False)
class Network:
    """A network that has a consensus."""

    directory: Path
    ports: Iterator[int] = field(factory=unused_ports)
    _nodes: list[Node] = field(factory=list, init=False)
    _public: list[str] = field(factory=list, init=False)
    """What every tor has to know of the authorities."""
    _empty: Path = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._empty = self.directory / "empty"
        self._empty.touch()

    def node(self, name: str, *lines: str) -> Node:
        """A tor that is still to be started."""
        directory = self.directory / name
        directory.mkdir(mode=0o700, exist_ok=True)
        common = [
            f"DataDirectory {directory}",
            f"Nickname {name}",
            "Address 127.0.0.1",
            "SafeLogging 0",
            "DisableDebuggerAttachment 0",  # so that we see whose connections are whose
            f"__OwningControllerProcess {os.getpid()}",
            # The real ones cost a second in each tor.
            f"GeoIPFile {self._empty}",
            f"GeoIPv6File {self._empty}",
            *self._public,
        ]
        if not any(line.startswith("Log ") for line in lines):
            common.append(f"Log notice file {directory / 'log'}")
        return Node(directory, self._empty, [*common, *lines])

    @contextlib.contextmanager
    def running(self, node: Node) -> Iterator[Node]:
        """A node for as long as the block lasts."""
        node.start()
        try:
            yield node
        finally:
            node.stop()

    @contextlib.contextmanager
    def bridge(self, name: str, *lines: str) -> Iterator[Node]:
        """A bridge that can be used, with the lines of its transports."""
        node = self.node(
            name,
            f"Log [net,general,pt,config]debug [*]info file {self.directory / name / 'log'}",
            *self._relay(next(self.ports)),
            "BridgeRelay 1",
            "BridgeDistribution none",
            "PublishServerDescriptor 0",
            "ExitRelay 0",
            "ExtORPort 127.0.0.1:auto",
            *lines,
        )
        with self.running(node):
            node.wait_for(r"Bootstrapped 100%")
            yield node

    @contextlib.contextmanager
    def client(self, name: str, *lines: str) -> Iterator[Node]:
        """A client that has bootstrapped, with the lines of its bridges and transports."""
        node = self.node(
            name,
            f"Log [pt,config]debug [*]info file {self.directory / name / 'log'}",
            "ClientOnly 1",
            f"SocksPort 127.0.0.1:{(socks := next(self.ports))}",
            "UseBridges 1",
            "DormantOnFirstStartup 0",
            "ConfluxEnabled 0",
            *lines,
        )
        node.socks = socks
        with self.running(node):
            node.wait_for(r"Bootstrapped 100%")
            yield node

    # --- the network itself

    def start(self) -> None:
        """Start the authorities and the exit, and wait until all agree that all are there."""
        ports = {name: (next(self.ports), next(self.ports)) for name in AUTHORITIES}
        self._public = ["TestingTorNetwork 1", *self._make_authorities(ports)]
        ready = time.time() + FIRST_VOTE + 2 * EXCHANGE
        voting = [
            f"{prefix}{name} {seconds} seconds"
            for prefix in ("V3Auth", "TestingV3AuthInitial")
            for name, seconds in (
                ("VotingInterval", INTERVAL),
                ("VoteDelay", EXCHANGE),
                ("DistDelay", EXCHANGE),
            )
        ]
        for name, (orport, dirport) in ports.items():
            authority = self.node(
                name,
                *self._relay(orport),
                f"DirPort 127.0.0.1:{dirport}",
                "AuthoritativeDirectory 1",
                "V3AuthoritativeDirectory 1",
                "ContactInfo nobody@example.invalid",
                *voting,
                "V3AuthNIntervalsValid 12",
                f"TestingV3AuthVotingStartOffset {int(ready) % INTERVAL} seconds",
                "TestingDirAuthVoteExit *",
                "TestingDirAuthVoteGuard *",
                "TestingDirAuthVoteHSDir *",
                "ExitRelay 0",
                "__DisablePredictedCircuits 1",
            )
            self._start(authority)
        relay = self.node(
            EXIT,
            *self._relay(next(self.ports)),
            "ExitRelay 1",
            # "accept 127.0.0.0/8:*" would be "reject all" in the summary that clients see.
            "ExitPolicy accept *:*",
            "ExitPolicyRejectPrivate 0",
            "ExitPolicyRejectLocalInterfaces 0",
            "OutboundBindAddressExit 127.0.0.1",
            # A cache may be asked for what it has not yet got itself; who asked then waits long.
            "DirCache 0",
            "__DisablePredictedCircuits 1",
        )
        self._start(relay)
        self._wait_for_consensus([dirport for _, dirport in ports.values()])

    def stop(self) -> None:
        for node in self._nodes:
            node.stop(2.0)

    def _start(self, node: Node) -> None:
        self._nodes.append(node)
        node.start()

    def _relay(self, port: int) -> list[str]:
        names = self.directory / "resolv.conf"
        names.write_text("nameserver 127.0.0.1\n")  # and nobody is there: no name is looked up
        return [
            f"ORPort 127.0.0.1:{port}",
            "SocksPort 0",
            "AssumeReachable 1",
            "AddressDisableIPv6 1",
            "ShutdownWaitLength 0",
            "DirReqStatistics 0",
            "OutboundBindAddressOR 127.0.0.1",
            f"ServerDNSResolvConfFile {names}",
            "ServerDNSAllowBrokenConfig 1",
            "ServerDNSDetectHijacking 0",
            "ServerDNSTestAddresses 127.0.0.1",
        ]

    def _make_authorities(self, ports: dict[str, tuple[int, int]]) -> list[str]:
        """Make the keys of the authorities; returns the lines by which others know them."""
        making = []
        for name, (orport, _) in ports.items():
            directory = self.directory / name
            keys = directory / "keys"
            keys.mkdir(mode=0o700, parents=True)
            directory.chmod(0o700)
            secrets = {
                option: keys / f"authority_{name}"
                for option, name in (
                    ("-i", "identity_key"),
                    ("-s", "signing_key"),
                    ("-c", "certificate"),
                )
            }
            words = ["tor-gencert", "--create-identity-key", "--passphrase-fd", "0", "-m", "2"]
            making.append(run([*words, *pairs(secrets)], self.directory))
            settings = {
                "--DataDirectory": directory,
                "--Nickname": name,
                "--Address": "127.0.0.1",
                "--ORPort": f"127.0.0.1:{orport}",
                "--DirAuthority": f"nobody 127.0.0.1:1 {'F' * 40}",
                "--GeoIPFile": self._empty,
                "--GeoIPv6File": self._empty,
                "--defaults-torrc": self._empty,
                "-f": self._empty,
            }
            words = ["tor", "--quiet", "--list-fingerprint"]
            making.append(run([*words, *pairs(settings)], self.directory))
        for finish in making:
            finish()
        lines = []
        for name, (orport, dirport) in ports.items():
            certificate = (self.directory / name / "keys" / "authority_certificate").read_text()
            identity = re.search(r"^fingerprint (\w{40})", certificate, re.M)
            assert identity is not None
            fingerprint = Node(self.directory / name, self._empty).fingerprint
            lines.append(
                f"DirAuthority {name} orport={orport} no-v2 v3ident={identity[1]}"
                f" 127.0.0.1:{dirport} {fingerprint}"
            )
        return lines

    def _wait_for_consensus(self, dirports: list[int], seconds: float = 80.0) -> None:
        """Wait until each authority serves what a node that asks has to get.

        A node that asks too early waits ten seconds and more before it asks again.
        """
        everybody = {*AUTHORITIES, EXIT}
        waiting = [(port, flavour) for port in dirports for flavour in ("", "-microdesc")]
        deadline = time.monotonic() + seconds
        while waiting:
            for node in self._nodes:
                node.check()
            if time.monotonic() > deadline:
                for node in self._nodes:
                    node.read()
                logs = "\n".join(node.log[-2000:] for node in self._nodes)
                raise NetworkError(f"no consensus with {sorted(everybody)}:\n{logs}")
            if running_in(*waiting[0]) >= everybody:
                waiting.pop(0)
            else:
                time.sleep(0.1)


def running_in(dirport: int, flavour: str) -> set[str]:
    """Which relays run, by the consensus that an authority serves."""
    request = f"GET /tor/status-vote/current/consensus{flavour} HTTP/1.0\r\n\r\n"
    try:
        with socket.create_connection(("127.0.0.1", dirport), 3) as connection:
            connection.sendall(request.encode())
            reply = b"".join(iter(lambda: connection.recv(65536), b"")).decode("utf-8", "replace")
    except OSError:
        return set()
    return set(re.findall(r"^r (\w+) (?:.*\n)(?:[^rs] .*\n)*s (?=.*\bRunning\b)", reply, re.M))


def environment(home: Path) -> dict[str, str]:
    """What a tor inherits, and its transports from it."""
    path = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
    return {"PATH": path, "HOME": str(home), "TZ": "UTC", "LANG": "C.UTF-8"}


def pairs(options: Mapping[str, object]) -> list[str]:
    return [word for name, value in options.items() for word in (name, str(value))]


def run(words: list[str], home: Path) -> Callable[[], None]:
    """Start a command that may ask for a passphrase; what is returned waits for its end."""
    process = subprocess.Popen(
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment(home),
    )

    def finish() -> None:
        _, errors = process.communicate(b"a passphrase\n", timeout=60)
        if process.returncode:
            raise NetworkError(f"{words[0]} failed: {errors.decode('utf-8', 'replace')}")

    return finish


@contextlib.contextmanager
def tor_network(directory: Path) -> Iterator[Network]:
    """A network for as long as the block lasts; ``directory`` may have no spaces in its name."""
    network = Network(directory)
    try:
        network.start()
        yield network
    finally:
        network.stop()
