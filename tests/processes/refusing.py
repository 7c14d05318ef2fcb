"""Says the lines it is given, and ends with the exit status it is given; "stay" does not end.

What begins with "2" goes to stderr.
"""

import os
import sys

for word in sys.argv[2:]:
    stream = 2 if word.startswith("2") else 1
    os.write(stream, word.removeprefix("2").encode() + b"\n")
if sys.argv[1] == "stay":
    while os.read(0, 4096):
        pass
else:
    sys.exit(int(sys.argv[1]))
