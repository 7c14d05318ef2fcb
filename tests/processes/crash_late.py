"""Is ready, and ends as soon as somebody connects."""

import os
import socket

with socket.create_server(("127.0.0.1", 0)) as listener:
    os.write(1, b"VERSION 1\nCMETHOD one socks5 127.0.0.1:%d\n" % listener.getsockname()[1])
    os.write(1, b"CMETHODS DONE\n")
    listener.accept()
    os._exit(3)
