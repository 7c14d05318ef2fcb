"""Says a line of 10 MB between two that are as they should be."""

import os


def say(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]


say(b'VERSION 1\nLOG SEVERITY=notice MESSAGE="' + b"x" * 10_000_000 + b'"\n')
say(b"CMETHOD one socks5 127.0.0.1:9\nCMETHODS DONE\n")
while os.read(0, 4096):
    pass
