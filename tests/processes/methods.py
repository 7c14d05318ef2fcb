"""Says the lines it is given instead of one honest CMETHOD."""

import os
import sys

os.write(1, b"VERSION 1\n")
for line in sys.argv[1:]:
    os.write(1, line.encode() + b"\n")
os.write(1, b"CMETHODS DONE\n")
while os.read(0, 4096):
    pass
