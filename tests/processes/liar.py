"""Has a SOCKS port that answers with what it is given, piece by piece.

Each argument is hexadecimal; before it says that it waits to be told something.  "close"
closes the connection, "reset" breaks it, "keep" keeps it.
"""

import os
import socket
import struct
import sys
import time

with socket.create_server(("127.0.0.1", 0)) as listener:
    os.write(1, b"VERSION 1\nCMETHOD one socks5 127.0.0.1:%d\n" % listener.getsockname()[1])
    os.write(1, b"CMETHODS DONE\n")
    stream = listener.accept()[0]
    for word in sys.argv[1:]:
        if word == "keep":
            time.sleep(3600)
        elif word == "reset":
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            stream.close()
        elif word == "close":
            stream.close()
        else:
            stream.recv(4096)
            stream.sendall(bytes.fromhex(word))
    while os.read(0, 4096):
        pass
