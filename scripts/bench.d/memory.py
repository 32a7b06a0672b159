"""What is counted once a run and not per request: memory of idle connections; start and size of the demo."""

import contextlib
import dataclasses
import select
import socket
import time

import handshakes
import machine
from loads import LOADS, Wrk
from processes import Running
from proxies import Setup
from upstreams import SMALL_BYTES

IDLE = 10_000
IDLE_WHAT = {
    "idle-10k": f"memory of {IDLE:,} connections that have served one request each; the kernel's part is not counted",
    "idle-tls-10k": f"the same over TLS 1.3, after {IDLE:,} full handshakes",
}
IDLE_SETUP = {"idle-10k": Setup(), "idle-tls-10k": Setup(tls_in=True)}
DEMO_WHAT = "`portcullis demo` on one core, its upstream included: start to first 200, memory after a load"
SPARE_DESCRIPTORS = 1_000
IDLE_KIB_MOST = 20
DEMO_RSS_MIB_MOST = 20
DEMO_READY_MS_MOST = 100
DEMO_PORTS = (8080, 9080, 9902)
SETTLE_SECONDS = 2
ROUNDS_MOST = 3


def idle_connections(bench, load, rounds, descriptors):
    """By proxy, for each round: RSS before, with 10,000 connections, after they closed; KiB for each connection.

    Each connection has served a request before it falls idle. Kernel memory of its sockets is not counted.
    """
    if descriptors < IDLE + SPARE_DESCRIPTORS:
        raise machine.Unsupported(
            f"{IDLE:,} connections need {IDLE + SPARE_DESCRIPTORS:,} open files, the hard limit is {descriptors:,} (ulimit -Hn)"
        )
    names = (["portcullis"] if bench.binary else []) + bench.peers
    results = {name: [] for name in names}
    for number in range(min(rounds, ROUNDS_MOST)):
        for name in names if number % 2 == 0 else names[::-1]:
            with Running() as running:
                setup = dataclasses.replace(IDLE_SETUP[load], connections=IDLE + SPARE_DESCRIPTORS)
                proxy = bench.start(running, name, name, setup)
                bench.wait_until_right(proxy, LOADS["get-128"].generator)
                results[name].append(hold_connections(proxy))
    return results


def hold_connections(proxy):
    tls = handshakes.client() if proxy.setup.tls_in else None
    with contextlib.ExitStack() as stack:
        for _ in range(100):  # one connection to the upstream and all code paged in, before the count begins
            stack.enter_context(contextlib.closing(connection_that_served(proxy, tls)))
        before = proxy.process.rss_bytes()
        poll = select.poll()
        for _ in range(IDLE):
            connection = stack.enter_context(contextlib.closing(connection_that_served(proxy, tls)))
            poll.register(connection, select.POLLIN | select.POLLHUP)
        time.sleep(SETTLE_SECONDS)
        closed = len(poll.poll(0))
        if closed:
            machine.fail(70, f"{proxy.label} closed {closed} of {IDLE:,} idle connections; it said:\n{proxy.process.said()}")
        held = proxy.process.rss_bytes()
    time.sleep(SETTLE_SECONDS)
    mib = 2**20
    return {
        "kib_each": (held - before) / 1024 / IDLE,
        "rss_before_mib": before / mib,
        "rss_held_mib": held / mib,
        "rss_closed_mib": proxy.process.rss_bytes() / mib,
    }


def connection_that_served(proxy, tls):
    """A connection that has served one request. Of one over TLS the socket remains: it is only held, which costs less so."""
    if not tls:
        connection = socket.create_connection(("127.0.0.1", proxy.port), timeout=10)
        ask(connection)
        return connection
    connection = handshakes.connect(proxy.port, tls)
    ask(connection)
    return socket.socket(fileno=connection.detach())


def ask(connection):
    connection.sendall(b"GET /small HTTP/1.1\r\nHost: bench\r\n\r\n")
    received = b""
    while not received.endswith(b"s" * SMALL_BYTES):
        part = connection.recv(4096)
        if not part:
            machine.fail(70, f"a connection was closed instead of answered: {received[:200]!r}")
        received += part


def demo(bench, rounds, seconds):
    """For each round: milliseconds from the start of `portcullis demo` to its first 200, and RSS after a load.

    The demo's upstream is part of the process and is counted; so are the programs that pin it to its core.
    """
    if not bench.binary:
        raise machine.Unsupported("it measures Portcullis alone")
    taken = [str(port) for port in DEMO_PORTS if machine.is_taken(port)]
    if taken:
        raise machine.Unsupported(f"the demo's port is taken: {', '.join(taken)}")
    results = []
    for number in range(rounds):
        with Running() as running:
            started = time.perf_counter()
            process = running.start("demo", [bench.binary, "demo"], bench.proxy_core, bench.directory / f"demo-{number}.out")
            ready = first_200(process, started)
            generator = Wrk("/shop/items/7", received=None)
            figures = generator.run(DEMO_PORTS[0], Setup(), seconds, bench.load_core, bench.directory)
            results.append({
                "ready_ms": (ready - started) * 1000,
                "rss_mib": process.rss_bytes() / 2**20,
                "requests_per_second": figures["requests_per_second"],
            })
    return results


def first_200(process, started):
    said = b""
    while time.perf_counter() < started + 10 and process.lives():
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", DEMO_PORTS[0]), timeout=1) as connection:
            connection.sendall(b"GET /shop/items/7 HTTP/1.1\r\nHost: bench\r\n\r\n")
            said = connection.recv(4096)
            if said.startswith(b"HTTP/1.1 200 "):
                return time.perf_counter()
        time.sleep(0.001)
    machine.fail(69, f"the demo does not serve ({said[:80]!r}); it said:\n{process.said()}")
