"""Runs a command as a shell does in the foreground: SIGINT ends it though whoever started the tests ignores that, and
the terminal that is its standard input is its own. A program, and no `preexec_fn`: that forks a process in which gRPC
runs, and gRPC may crash the fork."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import termios

signal.signal(signal.SIGINT, signal.SIG_DFL)
if os.isatty(0) and os.getsid(0) == os.getpid():
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
