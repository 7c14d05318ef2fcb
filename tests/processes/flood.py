"""Writes 20 MB to stderr before it is ready, and goes on."""

import os

for _ in range(20 * 1024):
    os.write(2, b"nobody reads this " * 56 + b"\n" * 16)
os.write(1, b"VERSION 1\nCMETHOD one socks5 127.0.0.1:9\nCMETHODS DONE\n")
try:
    while True:
        os.write(2, b"still talking\n" * 100)
except BrokenPipeError:
    pass
