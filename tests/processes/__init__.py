"""Transport processes to try a host with: one honest, the others bad, each in its own way.

Each is a program of its own that needs nothing but Python, so that it starts quickly.
"""
