"""Does not care for the end of its stdin, nor for any signal that it may ignore.

With "child" it has a child like itself.
"""

import os
import signal
import sys
import time

for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
if "child" not in sys.argv or os.fork():
    os.write(1, b"VERSION 1\nCMETHOD one socks5 127.0.0.1:9\nCMETHODS DONE\n")
while True:
    time.sleep(60)
