"""Ends before it is ready: with exit status 7, or by the signal it is given."""

import os
import sys

os.write(1, b"VERSION 1\n")
os.write(2, b"something was wrong\nand this is why\n")
if len(sys.argv) > 1:
    os.kill(os.getpid(), int(sys.argv[1]))
sys.exit(7)
