"""A host of a server without ptipc, with an Extended ORPort, and what may be wrong with it.

``python plainserver.py PLAN.json FLAW``; without a flaw it keeps every rule that binds.  The flaws
are named where they are.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import NoReturn

PLAN = json.loads(Path(sys.argv[1]).read_text("utf-8"))
FLAW = sys.argv[2] if len(sys.argv) > 2 else ""
NAMES = PLAN["names"]
HEADER = b"! Extended ORPort Auth Cookie !\n"
COOKIE_FILE = Path("cookie").absolute()
ONE_NONCE = os.urandom(32)


def is_(flaw: str) -> bool:
    return flaw == FLAW


# --- what it says at the start --------------------------------------------------------------------


def escaped(text: str, signs: str) -> str:
    if is_("no escapes in options"):
        return text
    return "".join(f"\\{char}" if char in signs else char for char in text)


def environment(extended: str | None) -> dict[str, str]:
    own = {name: text for name, text in os.environ.items() if not name.startswith("TOR_PT_")}
    places = dict.fromkeys(NAMES, "0.0.0.0:0")
    if "bind" in PLAN:
        places[NAMES[0]] = PLAN["bind"]
    if is_("binds one"):
        places = {NAMES[0]: places[NAMES[0]]}
    if is_("binds backwards"):
        places = dict(reversed(places.items()))
    if is_("no brackets to bind"):
        places = {name: re.sub(r"[\[\]]", "", place) for name, place in places.items()}
    own |= {
        "TOR_PT_MANAGED_TRANSPORT_VER": "1",
        "TOR_PT_STATE_LOCATION": PLAN["state"],
        "TOR_PT_EXIT_ON_STDIN_CLOSE": "1",
        "TOR_PT_SERVER_TRANSPORTS": ",".join(NAMES),
        "TOR_PT_SERVER_BINDADDR": ",".join(f"{name}-{place}" for name, place in places.items()),
        "TOR_PT_ORPORT": "127.0.0.1:9",
        "TOR_PT_EXTENDED_SERVER_PORT": extended or "",
    }
    if extended is not None and not is_("no cookie"):
        own["TOR_PT_AUTH_COOKIE_FILE"] = str(COOKIE_FILE)
    options = PLAN.get("option", [])
    options = options[:1] if is_("one option") else options
    if options:
        own["TOR_PT_SERVER_TRANSPORT_OPTIONS"] = ";".join(
            f"{NAMES[0]}:{escaped(key, ':;=' + chr(92))}={escaped(value, ':;' + chr(92))}"
            for key, value in options
        )
    return own


# --- its Extended ORPort --------------------------------------------------------------------------


def write_cookie() -> bytes:
    if is_("old cookie") and COOKIE_FILE.exists():
        return COOKIE_FILE.read_bytes()[32:]
    cookie = os.urandom(32)
    COOKIE_FILE.unlink(missing_ok=True)
    mode = 0o644 if is_("cookie for all") else 0o600
    file = os.open(COOKIE_FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    os.write(file, cookie if is_("bare cookie") else HEADER + cookie)
    os.close(file)
    return cookie


def exactly(link: socket.socket, count: int) -> bytes:
    if is_("in one piece") and count:
        data = link.recv(count)
        if len(data) < count:
            raise OSError("not all of it")
        return data
    data = b""
    while len(data) < count:
        more = link.recv(count - len(data))
        if not more:
            raise OSError("the end")
        data += more
    return data


def proof(cookie: bytes, which: bytes, *nonces: bytes) -> bytes:
    label = b"ExtORPort authentication " + which + b" hash"
    return hmac.digest(cookie, label + b"".join(nonces), hashlib.sha256)


def authenticate(link: socket.socket, cookie: bytes) -> bool:
    link.sendall(b"\2\0" if is_("no SAFE_COOKIE") else b"\1\0")
    chosen = exactly(link, 1)
    if chosen != b"\1":
        if is_("any type"):
            threading.Event().wait()
        return False
    theirs = exactly(link, 32)
    ours = ONE_NONCE if is_("one nonce") else os.urandom(32)
    order = (ours, theirs) if is_("wrong proof") else (theirs, ours)
    link.sendall(proof(cookie, b"server-to-client", *order) + ours)
    if exactly(link, 32) != proof(cookie, b"client-to-server", theirs, ours):
        link.sendall(b"\1" if is_("believes anybody") else b"\0")
        return is_("believes anybody")
    link.sendall(b"\1")
    return True


def is_address(body: bytes) -> bool:
    found = re.fullmatch(rb"\[?([0-9a-f.:]+?)\]?:([0-9]{1,5})", body)
    return found is not None and (b"." in found[1] or body.startswith(b"["))


def serve(link: socket.socket, cookie: bytes) -> None:
    if not authenticate(link, cookie):
        return
    heard: list[int] = []
    while True:
        if is_("reads ahead"):
            data = link.recv(65536)
            code, body = int.from_bytes(data[:2], "big"), data[4 : 4 + data[3]]
        else:
            code, size = (int.from_bytes(exactly(link, 2), "big") for _ in range(2))
            if is_("short bodies") and size > 4096:
                return
            body = exactly(link, size)
        if code == 1 and not is_address(body) and not is_("any address"):
            return
        if code == 1 and b"[" in body and is_("IPv4 only"):
            return
        if code == 2 and not re.fullmatch(rb"[a-zA-Z_]\w*", body) and not is_("any name"):
            return
        if code > 2 and is_("knows three commands"):
            return
        if code == 1 and heard and is_("address first"):
            return
        heard.append(code)
        if code == 0 and (not body or not is_("no body behind DONE")):
            break
        if is_("decides early"):
            link.sendall(b"\x10\0\0\0")
    if is_("no decision") or (is_("wants all of it") and {1, 2} - {*heard}):
        return
    link.sendall(b"\x10\0\0\0")
    while link.recv(4096):
        pass


def accept(listener: socket.socket, cookie: bytes) -> None:
    def whole(link: socket.socket) -> None:
        with link:
            try:
                serve(link, cookie)
            except OSError:
                return

    while True:
        link, _ = listener.accept()
        if is_("one after the other"):
            whole(link)
        else:
            threading.Thread(target=whole, args=[link], daemon=True).start()


# --- its life -------------------------------------------------------------------------------------


def main() -> NoReturn:
    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: ending.set())
    extended = None
    if "extorport" in PLAN:
        listener = socket.create_server(("127.0.0.1", 0))
        extended = f"127.0.0.1:{listener.getsockname()[1]}"
        threading.Thread(target=accept, args=[listener, write_cookie()], daemon=True).start()
    child = subprocess.Popen(
        PLAN["command"],
        env=environment(extended),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    threading.Thread(target=child.stdout.read, daemon=True).start()
    ending.wait()
    child.stdin.close()
    child.wait()
    os._exit(0)


main()
