"""Goes on talking when it is ready, about things that are settled."""

import os

os.write(1, b"VERSION 1\nCMETHOD one socks5 127.0.0.1:9\nCMETHODS DONE\n")
os.write(1, b"VERSION 1\nCMETHOD one socks5 127.0.0.1:1\nCMETHOD-ERROR one no\nCMETHODS DONE\n")
os.write(1, b'ENV-ERROR too late\nHELLO\nLOG SEVERITY=notice MESSAGE="the last"\n')
while os.read(0, 4096):
    pass
