"""How good speech is, as ITU-T P.862.2 (PESQ-WB) has it.

    pesq.py SPEECH HEARD..

Files hold samples at 16 kHz, as little-endian doubles. Prints a figure for each HEARD: from 1.0 to 4.6.
"""

import sys

# The package is meant, not this file.
sys.path.pop(0)

import numpy
from pesq import pesq

speech, *others = [numpy.fromfile(name, "<f8") for name in sys.argv[1:]]
for heard in others:
    print(pesq(16000, speech, heard, "wb"))
