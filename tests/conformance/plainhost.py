"""A host without ptipc, as somebody might write one in an afternoon, and what may be wrong with it.

``python plainhost.py PLAN.json FLAW``; without a flaw it keeps every rule that binds.  The flaws
are named where they are.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

PLAN = json.loads(Path(sys.argv[1]).read_text("utf-8"))
FLAW = sys.argv[2] if len(sys.argv) > 2 else ""
NAME = PLAN["names"][0]
ENDING = threading.Event()


def is_(flaw: str) -> bool:
    return flaw == FLAW


def environment() -> dict[str, str]:
    own = {name: text for name, text in os.environ.items() if not name.startswith("TOR_PT_")}
    if is_("inherits"):
        own = dict(os.environ)
    names = PLAN["names"] if not is_("one name") else PLAN["names"][:1]
    own |= {
        "TOR_PT_MANAGED_TRANSPORT_VER": "1.0" if is_("odd version") else "1",
        "TOR_PT_STATE_LOCATION": "state" if is_("relative state") else PLAN["state"],
        "TOR_PT_EXIT_ON_STDIN_CLOSE": "1",
        "TOR_PT_CLIENT_TRANSPORTS": ",".join(names),
    }
    if is_("asks for more"):
        own["TOR_PT_CLIENT_TRANSPORTS"] += ",meek"
    if is_("no state"):
        del own["TOR_PT_STATE_LOCATION"]
    if is_("stdin does not count"):
        del own["TOR_PT_EXIT_ON_STDIN_CLOSE"]
    if is_("both roles"):
        own["TOR_PT_SERVER_TRANSPORTS"] = NAME
    if is_("empty proxy"):
        own["TOR_PT_PROXY"] = "socks5://127.0.0.1:9"
    proxy = PLAN.get("socks5_proxy")
    if proxy is not None:
        user = f"{PLAN['socks5_user']}:{PLAN['socks5_password']}@" if "socks5_user" in PLAN else ""
        own["TOR_PT_PROXY"] = proxy if is_("no scheme") else f"socks5://{user}{proxy}"
    outbound = {} if is_("no outbound address") else PLAN
    if "outbound_v4" in outbound or is_("always an outbound address"):
        own["TOR_PT_OUTBOUND_BIND_ADDRESS_V4"] = PLAN.get("outbound_v4", "192.0.2.1")
    if "outbound_v6" in outbound:
        six = PLAN["outbound_v6"]
        own["TOR_PT_OUTBOUND_BIND_ADDRESS_V6"] = six if is_("no brackets") else f"[{six}]"
    return own


def flags() -> list[str]:
    """The same for the edition 3.0."""
    said = ["-client", "-ptversion", "3.0", "-transports", ",".join(PLAN["names"])]
    said += ["-state", PLAN["state"], "-exit-on-stdin-close"]
    mode = PLAN.get("mode")
    if mode is not None and not is_("no mode"):
        said += ["-mode", mode.lower() if is_("any case of a mode") else mode]
    if mode is not None and not is_("no server"):
        said += ["-options", json.dumps({NAME: {"serverAddress": PLAN["target"]}})]
    return said


def start() -> subprocess.Popen[bytes]:
    if is_("signals"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    by_flags = PLAN["dialect"] == "3.0"
    child = subprocess.Popen(
        [*PLAN["command"], *(flags() if by_flags else ())],
        env=dict(os.environ) if by_flags else environment(),
        stdin=subprocess.DEVNULL if is_("no stdin") else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if not is_("deaf to stderr") else subprocess.PIPE,
        start_new_session=is_("leaves it"),
    )
    if is_("closes stdin"):
        assert child.stdin is not None
        child.stdin.close()
    return child


# --- what it hears --------------------------------------------------------------------------------


def lines(child: subprocess.Popen[bytes]) -> Iterator[bytes]:
    assert child.stdout is not None
    if is_("half lines"):
        while data := child.stdout.read1(65536):  # type: ignore[attr-defined]
            yield from data.splitlines(keepends=True)
    while line := child.stdout.readline():
        yield line


def negotiate(child: subprocess.Popen[bytes]) -> str | None:
    """The protocol and the address of the transport; None: it cannot be used."""
    version = method = proxy = None
    for line in lines(child):
        if not line.endswith(b"\n") and not is_("half lines"):
            return None
        text = line.decode("utf-8", "strict" if is_("strict text") else "replace").rstrip("\n")
        text = text if is_("no CR") else text.removesuffix("\r")
        keyword, _, rest = text.partition(" ")
        if is_("prefixes"):
            known = ("VERSION-ERROR", "ENV-ERROR", "VERSION", "CMETHODS", "CMETHOD")
            keyword = next((each for each in known if keyword.startswith(each)), keyword)
        if is_("any case"):
            keyword = keyword.upper()
        if keyword == "VERSION" and (rest == PLAN["dialect"] or is_("any version")):
            version = rest
        elif keyword == "PROXY-ERROR" and is_("the proxy may fail"):
            proxy = "DONE"
        elif keyword in ("VERSION", "VERSION-ERROR", "ENV-ERROR", "PROXY-ERROR"):
            if not is_("errors are not heard"):
                return None
        elif keyword == "PROXY":
            proxy = rest
        elif keyword == "CMETHOD":
            words = rest.split()
            if len(words) >= 3 and words[0] == NAME and re.match(r"127\.|\[::1\]", words[2]):
                method = " ".join(words[1:3])
            if is_("does not wait for DONE"):
                return method
        elif keyword == "CMETHOD-ERROR" and is_("one error is all"):
            return None
        elif keyword == "CMETHODS" and rest == "DONE":
            if version is None and not is_("no version"):
                return None
            if "socks5_proxy" in PLAN and proxy != "DONE" and not is_("past the proxy"):
                return None
            if method is not None and method.split()[0] not in ("socks4", "socks5"):
                return None
            return method
        elif is_("stops at what is unknown"):
            return None
    return None


# --- what it says ---------------------------------------------------------------------------------


def escaped(text: str, signs: str) -> str:
    if is_("no escapes"):
        return text
    if is_("half the escapes"):
        signs = signs.replace("=", "")
    return "".join(f"\\{char}" if char in signs else char for char in text)


def args() -> bytes:
    pairs = PLAN.get("args", [])
    return ";".join(
        f"{escaped(k, ';=' + chr(92))}={escaped(v, ';=' + chr(92))}" for k, v in pairs
    ).encode()


def connect(method: str) -> None:
    protocol, address = method.split()
    host, _, port = address.rpartition(":")
    link = socket.create_connection((host.strip("[]"), int(port)))
    try:
        granted = socks4(link) if protocol == "socks4" else socks5(link)
        if granted or is_("keeps what is refused"):
            while link.recv(4096):
                pass
    except OSError:
        if is_("keeps what is lost"):
            ENDING.wait()
    link.close()


def request() -> bytes:
    host, _, port = PLAN["target"].rpartition(":")
    six = host.startswith("[")
    packed = socket.inet_pton(socket.AF_INET6 if six else socket.AF_INET, host.strip("[]"))
    return bytes([5, 1, 0, 4 if six else 1]) + packed + int(port).to_bytes(2, "big")


def exactly(link: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = link.recv(1 if is_("one read") else count - len(data))
        if not more:
            raise OSError("the end")
        data += more
        if is_("one read"):
            break
    return data


def socks5(link: socket.socket) -> bool:
    text = args()
    offer = b"\5\1\2" if text else b"\5\1\0"
    if is_("odd offer"):
        offer = b"\5\2\0\1"
    link.sendall(offer + (request() if is_("in a hurry") else b""))
    answer = exactly(link, 2)
    if answer[1:] not in (b"\0", b"\2") or answer[0] != 5 or answer[1] not in offer[2:]:
        return is_("keeps what is refused")
    if answer[1:] == b"\2":
        cut = 254 if is_("splits early") else 255
        name, secret = text[:cut], text[cut:] or (b"" if is_("no NUL") else b"\0")
        link.sendall(b"\1" + bytes([len(name)]) + name + bytes([len(secret)]) + secret)
        if exactly(link, 2) != b"\1\0":
            return False
    link.sendall(request())
    if is_("sends early"):
        link.sendall(b"hello")
    head = exactly(link, 4)
    if head[1] != 0 and not (is_("knows eight codes") and head[1] > 8):
        return False
    exactly(link, 6 if head[3] == 1 else 18)
    return True


def socks4(link: socket.socket) -> bool:
    if is_("no SOCKS4"):
        return socks5(link)
    packed = request()
    link.sendall(b"\4\1" + packed[8:10] + packed[4:8] + args() + b"\0")
    return exactly(link, 8)[1] == 0x5A


# --- its life -------------------------------------------------------------------------------------


def stop(child: subprocess.Popen[bytes]) -> None:
    if is_("leaves it"):
        return
    if is_("kills at once"):
        child.kill()
        return
    ways = [child.terminate, child.kill]
    if is_("only stdin"):
        ways = []
    elif is_("no kill"):
        ways = [child.terminate]
    elif is_("no time"):
        ways = [child.kill]
    if child.stdin is not None and not is_("signal first"):
        child.stdin.close()
    for way in ways:
        try:
            child.wait(0.3 if is_("no time") else 1.5)
            return
        except subprocess.TimeoutExpired:
            way()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(1.5)


def drain(child: subprocess.Popen[bytes]) -> None:
    assert child.stdout is not None
    if is_("deaf after DONE"):
        ENDING.wait()
    while child.stdout.read1(65536):  # type: ignore[attr-defined]
        pass


def keep(running: list[subprocess.Popen[bytes]]) -> None:
    """Start it, and once more when it has ended, after a pause that gets longer."""
    pause = 1.0
    while True:
        child = start()
        running.append(child)
        if is_("starts two"):
            running.append(start())
        method = negotiate(child)
        if is_("dies with it") and method is None:
            os.abort()
        if method is None and is_("past the transport"):
            host, _, port = PLAN["target"].rpartition(":")
            socket.create_connection((host, int(port)))
        if method is None and not is_("leaves what is refused"):
            stop(child)
            if FLAW not in ("tries for ever", "no pause"):
                return
        if method is not None and "target" in PLAN:
            threading.Thread(target=connect, args=[method], daemon=True).start()
        drain(child)
        child.wait()
        time.sleep(
            0.05 if FLAW in ("no pause", "tries for ever") else 1.0 if is_("no back-off") else pause
        )
        pause *= 2


def main() -> NoReturn:
    running: list[subprocess.Popen[bytes]] = []
    signal.signal(signal.SIGTERM, lambda number, frame: ENDING.set())
    threading.Thread(target=keep, args=[running], daemon=True).start()
    while not ENDING.wait(0.1):
        pass
    for child in running:
        stop(child)
    os._exit(0)


main()
