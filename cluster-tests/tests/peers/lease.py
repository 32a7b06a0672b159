"""Takes the lease on a file: whoever opens it waits until that is given up, 45 s at the most (/proc/sys/fs/lease-break-time).

Usage: lease.py FILE. Prints "leased", or why not, and ends when its input does.
"""

import fcntl
import os
import signal
import sys

# Tells that somebody waits.
signal.signal(signal.SIGIO, signal.SIG_IGN)
file = os.open(sys.argv[1], os.O_RDWR)
try:
    fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    print("leased", flush=True)
except OSError as error:
    print(error, flush=True)
sys.stdin.read()
