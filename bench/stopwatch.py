"""Run a command; the last line has its wall time (s), processor time (s), peak memory (KiB) and exit code.

The code of a command that a signal ended is the signal's number, negative.

Run as a script under `python -I -S`: a process's peak memory, as the kernel reports it, is never below that
of its parent process, so the parent must be small. It imports only built-in modules.
"""

from __future__ import annotations

import os
import sys
import time

if __name__ == "__main__":
    command = sys.argv[1:]
    null = os.open(os.devnull, os.O_RDWR)
    streams = [(os.POSIX_SPAWN_DUP2, null, stream) for stream in (0, 1, 2)]
    begin = time.perf_counter()
    child = os.posix_spawnp(command[0], command, os.environ, file_actions=streams)
    _, status, usage = os.wait4(child, 0)
    wall = time.perf_counter() - begin
    code = os.waitstatus_to_exitcode(status)
    print(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss, code)
    sys.exit(code != 0)
