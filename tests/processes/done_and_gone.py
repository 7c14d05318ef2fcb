"""Says that it is ready and ends: with one transport, or with "none" as obfs4proxy does."""

import os
import sys

os.write(1, b"VERSION 1\n")
if "none" in sys.argv:
    os.write(1, b"CMETHOD-ERROR one no such method\n")
else:
    os.write(1, b"CMETHOD one socks5 127.0.0.1:9\n")
os.write(1, b"CMETHODS DONE\n")
sys.exit(255)
