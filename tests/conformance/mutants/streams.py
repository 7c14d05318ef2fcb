"""Octets from a socket, no more than are asked for."""

import socket


def exactly(stream: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        if not (more := stream.recv(count - len(data))):
            raise EOFError
        data += more
    return data
