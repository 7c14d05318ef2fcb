"""Says octets that are not UTF-8, and NUL."""

import os

os.write(1, b'VERSION 1\nLOG SEVERITY=notice MESSAGE="caf\xe9"\n\xff\xfe\0\0\n')
os.write(1, b"CMETHOD one socks5 127.0.0.1:9\nCMETHODS DONE\n")
while os.read(0, 4096):
    pass
