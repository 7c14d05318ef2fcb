"""Agrees on a version, and then says nothing more of use."""

import os

os.write(1, b"VERSION 1\nCMETHOD one socks5 127.0.0.1:9\nIMPORTANT as it is\n")
while os.read(0, 4096):
    pass
