"""Does what it should: a client's transports, all the same, over SOCKS5 or with "4" over SOCKS4.

What it was told, and every args it gets, it says as LOG lines.
"""

import os
import signal
import socket
import sys
import threading


def say(line: str) -> None:
    os.write(1, line.encode() + b"\n")


def exactly(stream: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        if not (more := stream.recv(count - len(data))):
            sys.exit()
        data += more
    return data


def until_nul(stream: socket.socket) -> bytes:
    data = b""
    while not data.endswith(b"\0"):
        data += exactly(stream, 1)
    return data[:-1]


def handshake5(stream: socket.socket) -> tuple[bytes, tuple[str, int], bytes]:
    args = b""
    _, count = exactly(stream, 2)
    method = 2 if 2 in exactly(stream, count) else 0
    stream.sendall(bytes((5, method)))
    if method == 2:
        name = exactly(stream, exactly(stream, 2)[1])
        secret = exactly(stream, exactly(stream, 1)[0])
        args = name + (b"" if secret == b"\0" else secret)
        stream.sendall(b"\1\0")
    kind = exactly(stream, 4)[3]
    if kind == 3:
        host = exactly(stream, exactly(stream, 1)[0]).decode()
    else:
        family, size = (socket.AF_INET, 4) if kind == 1 else (socket.AF_INET6, 16)
        host = socket.inet_ntop(family, exactly(stream, size))
    port = int.from_bytes(exactly(stream, 2), "big")
    return args, (host, port), b"\5%c\0\1" + bytes(6)


def handshake4(stream: socket.socket) -> tuple[bytes, tuple[str, int], bytes]:
    port = int.from_bytes(exactly(stream, 4)[2:], "big")
    ip = exactly(stream, 4)
    args = until_nul(stream)
    host = until_nul(stream).decode() if ip[:3] == b"\0\0\0" else socket.inet_ntoa(ip)
    return args, (host, port), b"\0%c" + bytes(6)


def pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        source.close()
        sink.close()


def serve(stream: socket.socket) -> None:
    handshake = handshake4 if "4" in sys.argv else handshake5
    args, target, reply = handshake(stream)
    if args:
        say(f'LOG SEVERITY=notice MESSAGE="args {args.decode()}"')
    try:
        remote = socket.create_connection(target)
    except OSError as error:
        say(f'LOG SEVERITY=warning MESSAGE="{error.strerror}"')
        stream.sendall(reply % (91 if "4" in sys.argv else 5))
        stream.close()
        return
    stream.sendall(reply % (90 if "4" in sys.argv else 0))
    threading.Thread(target=pump, args=(stream, remote), daemon=True).start()
    pump(remote, stream)


def accept(listener: socket.socket) -> None:
    while True:
        stream = listener.accept()[0]
        threading.Thread(target=serve, args=(stream,), daemon=True).start()


say("VERSION 1")
say('STATUS TYPE=version IMPLEMENTATION="honest" VERSION="1.0"')
for key, value in sorted(os.environ.items()):
    if key.startswith("TOR_PT_"):
        say(f'LOG SEVERITY=info MESSAGE="{key}={value}"')
ignored = [number.name for number in signal.Signals if signal.getsignal(number) is signal.SIG_IGN]
say(f'LOG SEVERITY=info MESSAGE="ignored {" ".join(ignored)}"')
blocked = [signal.Signals(number).name for number in signal.pthread_sigmask(signal.SIG_BLOCK, ())]
say(f'LOG SEVERITY=info MESSAGE="blocked {" ".join(blocked)}"')
say(f'LOG SEVERITY=info MESSAGE="cwd {os.getcwd()} umask {os.umask(0o77):o}"')
say(f'LOG SEVERITY=info MESSAGE="descriptors {len(os.listdir("/proc/self/fd")) - 1}"')
for name in os.environ.get("TOR_PT_CLIENT_TRANSPORTS", "").split(","):
    if name.startswith("broken"):
        say(f"CMETHOD-ERROR {name} it is broken")
    elif not name.startswith("unknown"):
        listening = socket.create_server(("127.0.0.1", 0), backlog=512)
        protocol = "socks4" if "4" in sys.argv else "socks5"
        say(f"CMETHOD {name} {protocol} 127.0.0.1:{listening.getsockname()[1]}")
        threading.Thread(target=accept, args=(listening,), daemon=True).start()
say("CMETHODS DONE")
while os.read(0, 4096):
    pass
