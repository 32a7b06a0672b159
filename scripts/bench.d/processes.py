"""Processes under measurement: started on one core, read from /proc, ended however the script leaves."""

import atexit
import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Process:
    """A program and everything it forked."""

    def __init__(self, name, command, core, log):
        self.name, self.log = name, Path(log)
        # If this script is killed outright the kernel ends what it started.
        wrapper = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
        with open(log, "wb") as output:
            self.process = subprocess.Popen(
                [*wrapper, "taskset", "-c", str(core), *command],
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )

    def lives(self):
        return self.process.poll() is None

    def said(self):
        return self.log.read_text(errors="replace")[-2000:]

    def tree(self):
        children = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                with contextlib.suppress(OSError):
                    children.setdefault(int(stat_fields(entry)[1]), []).append(int(entry))
        found, pending = [], [self.process.pid]
        while pending:
            found.append(pending.pop())
            pending += children.get(found[-1], [])
        return found

    def cpu_seconds(self):
        """User and system time, of the tree."""
        ticks = 0
        for pid in self.tree():
            fields = stat_fields(pid)
            ticks += int(fields[11]) + int(fields[12])
        return ticks / TICKS_PER_SECOND

    def rss_bytes(self):
        return PAGE_BYTES * sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.tree())

    def end(self):
        if not self.lives():
            return
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def stat_fields(pid):
    """Fields of /proc/PID/stat from the third on; the second may hold blanks and parentheses."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


class Running:
    """What was started, ended in reverse order. `with Running()` inside another ends its own part earlier."""

    def __init__(self):
        self.processes = []
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        atexit.register(self.end)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()
        atexit.unregister(self.end)

    def start(self, name, command, core, log):
        process = Process(name, command, core, log)
        self.processes.append(process)
        return process

    def end(self):
        while self.processes:
            self.processes.pop().end()
