"""A load of requests over connections that are kept alive, until its input ends, which is a pipe; then a report in
JSON on standard output.

Usage: load.py HOST PORT PATH CONNECTIONS REQUESTS_PER_SECOND

A client like this honours `connection: close`, and counts every request without a complete answer as failed, the one that
meets a connection which has just been closed too.
"""

import asyncio
import json
import random
import signal
import sys
import time
from collections import Counter

# What a request may take at all.
DEADLINE_S = 20
# Pause of a connection after a failure, so that a dead entry is not hammered.
AFTER_FAILURE_S = 0.05
# Failures told in full.
TOLD_MAX = 5


class Load:
    def __init__(self, host, port, path, connections, rate):
        self.address, self.connections, self.interval_s = (host, port), connections, connections / rate
        self.request = f"GET {path} HTTP/1.1\r\nhost: {host}:{port}\r\n\r\n".encode()
        self.statuses, self.failures, self.told = Counter(), Counter(), []
        self.admitted, self.latencies = [], []
        self.ending = asyncio.Event()

    async def client(self):
        stream = None
        await asyncio.sleep(random.random() * self.interval_s)
        while not self.ending.is_set():
            began = time.time()
            try:
                async with asyncio.timeout(DEADLINE_S):
                    if stream is None:
                        stream = await asyncio.open_connection(*self.address)
                    status, keep = await self.exchange(*stream)
            except (OSError, EOFError, ValueError, asyncio.IncompleteReadError) as error:
                self.failed(began, error)
                status, keep = None, False
                await asyncio.sleep(AFTER_FAILURE_S)
            ended = time.time()
            if status:
                self.statuses[status] += 1
                self.latencies.append(ended - began)
                if 200 <= status < 300:
                    self.admitted.append(ended)
            if not keep and stream:
                stream[1].close()
                stream = None
            await asyncio.sleep(max(0, self.interval_s * random.uniform(0.5, 1.5) - (ended - began)))
        if stream:
            stream[1].close()

    async def exchange(self, reader, writer):
        writer.write(self.request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
        fields = dict(line.split(": ", 1) for line in head[1:] if ": " in line)
        await reader.readexactly(int(fields.get("content-length", "0")))
        return int(head[0].split()[1]), fields.get("connection") != "close"

    def failed(self, began, error):
        # An error without a word is that of the deadline.
        kind = type(error).__name__
        self.failures[kind] += 1
        if len(self.told) < TOLD_MAX:
            self.told.append(f"{kind} after {time.time() - began:.2f} s: {error}"[:120])

    async def run(self):
        loop = asyncio.get_running_loop()
        loop.add_reader(sys.stdin, lambda: (loop.remove_reader(sys.stdin), self.ending.set()))
        began = time.time()
        clients = [asyncio.create_task(self.client()) for _ in range(self.connections)]
        await self.ending.wait()
        # Requests under way are part of the count.
        await asyncio.gather(*clients)
        latencies = sorted(self.latencies) or [0]
        at = lambda share: round(latencies[min(len(latencies) - 1, int(share * len(latencies)))] * 1000, 1)
        return {
            "began": began,
            "ended": time.time(),
            "statuses": {str(status): number for status, number in sorted(self.statuses.items())},
            "failures": dict(self.failures),
            "told": self.told,
            "admitted": [round(moment, 3) for moment in sorted(self.admitted)],
            "ms": {"p50": at(0.5), "p99": at(0.99), "max": at(1)},
        }


if __name__ == "__main__":
    host, port, path, connections, rate = sys.argv[1:]
    report = asyncio.run(Load(host, int(port), path, int(connections), float(rate)).run())
    # Who asked for it may be gone.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    print(json.dumps(report))
