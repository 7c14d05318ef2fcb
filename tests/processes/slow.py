"""Says everything it should, an octet at a time."""

import os
import time

for octet in b"VERSION 1\nCMETHOD one socks5 127.0.0.1:9\nCMETHODS DONE\n":
    os.write(1, bytes([octet]))
    time.sleep(0.002)
while os.read(0, 4096):
    pass
