"""Leaves a child behind that holds its outputs open, and ends before it is ready.

With "runaway" the child has a session of its own, and says on stderr who it is.
"""

import os
import sys
import time

reading, writing = os.pipe()
if os.fork() == 0:
    if "runaway" in sys.argv:
        os.setsid()
        os.write(2, b"%d\n" % os.getpid())
    os.write(writing, b"x")
    while True:
        time.sleep(60)
os.read(reading, 1)
os.write(1, b"VERSION 1\n")
sys.exit(5)
