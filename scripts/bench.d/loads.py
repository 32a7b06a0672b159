"""The loads: what is asked, of which setup, by which generator, and what the project wants to reach."""

import http.client
import re
import socket
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import certificates
import handshakes
import machine
import upstreams
import websocket
from proxies import Setup

CONNECTIONS = 64
# 160 requests under way: below the 256 connections to the upstream that every proxy may keep.
H2_CONNECTIONS, H2_STREAMS = 16, 10
HANDSHAKE_CONNECTIONS = 16


@dataclass(frozen=True)
class Target:
    """CPU per request as a ratio: at most this, and better still at most `stretch`."""

    most: float
    stretch: float = None


@dataclass(frozen=True)
class Load:
    name: str
    what: str
    generator: object
    setup: Setup = Setup()
    peers_setup: Setup = None  # None: as Portcullis
    beside: dict = field(default_factory=dict)  # a second Portcullis to compare with, by label
    alone: bool = False  # the peers have nothing like it
    targets: dict = field(default_factory=dict)  # by what Portcullis is compared with


class Wrk:
    """HTTP/1.1 on keep-alive connections, one request at a time on each."""

    tools = ["wrk"]
    SCRIPT = """
wrk.method = "{method}"
wrk.body = {body}
{headers}
{spread}
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("RESULT %d %d %d %d %d\\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), e.connect + e.read + e.write + e.status + e.timeout))
end
"""
    SPREAD = """
local ready, at = {{}}, 0
function init()
  for _, path in ipairs({{ {paths} }}) do ready[#ready + 1] = wrk.format(nil, path) end
end
function request()
  at = at % #ready + 1
  return ready[at]
end
"""

    def __init__(self, path, received, method="GET", sent=0, headers=None, spread=False, refused_without=None):
        self.path, self.received, self.method, self.sent = path, received, method, sent
        self.headers, self.spread = headers or {}, spread
        self.refused_without = refused_without  # the header without which `policies` answer 401

    def paths(self, setup):
        return [base.rstrip("/") + self.path for base in setup.base_paths]

    def probe(self, port, setup):
        for path in {self.paths(setup)[0], self.paths(setup)[-1]}:
            status, body, closes = self.ask(port, setup, path, self.headers)
            if (status, len(body)) != (200, self.received):
                return f"{path}: status {status}, {len(body)} bytes"
            if closes != (self.headers.get("Connection") == "close"):
                return f"{path}: the connection {'is closed' if closes else 'stays open'}"
        if setup.tls_out:
            _, agreed, _ = self.ask(port, setup, "/tls", {})
            if agreed != upstreams.AGREED:
                return f"it speaks {agreed} to the upstream instead of {upstreams.AGREED}"
        if setup.policies:
            without = {name: value for name, value in self.headers.items() if name != self.refused_without}
            status, _, _ = self.ask(port, setup, self.paths(setup)[0], without)
            return None if status == 401 else f"without {self.refused_without}: status {status}, the policies are not in force"
        return None

    def ask(self, port, setup, path, headers):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        if setup.tls_in:
            connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=handshakes.client())
        try:
            connection.request(self.method, path, body=b"x" * self.sent if self.sent else None, headers=headers)
            response = connection.getresponse()
            closes = response.will_close
            return response.status, response.read(), closes
        finally:
            connection.close()

    def run(self, port, setup, seconds, core, directory):
        script = directory / "wrk.lua"
        paths = self.paths(setup)
        script.write_text(self.SCRIPT.format(
            method=self.method,
            body=f'string.rep("x", {self.sent})' if self.sent else "nil",
            headers="\n".join(f'wrk.headers["{name}"] = "{value}"' for name, value in self.headers.items()),
            spread=self.SPREAD.format(paths=", ".join(f'"{path}"' for path in paths)) if self.spread else "",
        ))
        return result_line(core, [
            machine.tool("wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{round(seconds)}s", "--latency", "-s", str(script),
            url(port, setup, paths[0])], certificates.of(directory).for_clients() if setup.tls_in else None)


class H2load:
    """HTTP/2: by ALPN over TLS, by prior knowledge in clear text."""

    tools = ["h2load", "nghttp"]

    def __init__(self, path, received, headers=(), body=None, trailer=None):
        self.path, self.received, self.headers, self.body, self.trailer = path, received, headers, body, trailer

    def arguments(self, directory):
        arguments = [word for header in self.headers for word in ("-H", header)]
        if self.body:
            file = directory / "h2load.body"
            file.write_bytes(self.body)
            arguments += ["-d", str(file)]
        return arguments

    def probe(self, port, setup):
        if not setup.tls_in:
            require_h2(port)
        with machine.scratch() as directory:
            command = [machine.tool("nghttp"), "-v", "-t", "5", *self.arguments(directory), url(port, setup, self.path)]
            said = subprocess.run(command, capture_output=True).stdout.decode("latin-1")
        said = re.sub(r"\x1b\[[\d;]*m", "", said)  # colours
        status = re.search(r":status: (\d+)", said)
        size = sum(map(int, re.findall(r"recv DATA frame <length=(\d+)", said)))
        if not status or (status[1], size) != ("200", self.received):
            return f"{self.path}: status {status[1] if status else 'missing'}, {size} bytes"
        if self.trailer and self.trailer not in said:
            return f"{self.path}: no trailer `{self.trailer}`"
        return None

    def run(self, port, setup, seconds, core, directory):
        log = directory / "h2load.log"
        log.unlink(missing_ok=True)
        command = [
            machine.tool("h2load"), "-t1", f"-c{H2_CONNECTIONS}", f"-m{H2_STREAMS}", f"-D{round(seconds)}",
            f"--log-file={log}", *self.arguments(directory), url(port, setup, self.path),
        ]
        said = on_core(core, command)
        rows = [line.split() for line in log.read_text().splitlines()]
        times = sorted(int(row[2]) for row in rows)
        total = re.search(r"requests: (\d+) total", said)
        # A status line is counted when it arrives, a request when it is complete: count what went wrong, not the rest.
        wrong = sum(map(int, re.findall(r"(\d+) (?:failed|errored|timeout|3xx|4xx|5xx)", said)))
        if not (total and times):
            machine.fail(70, f"h2load measured nothing:\n{said}")
        # Rows are written when a stream ends, so first and last span the measurement.
        took = max(int(row[0]) + int(row[2]) for row in rows) - min(int(row[0]) for row in rows)
        return figures(int(total[1]), took, statistics.median(times), times[int(len(times) * 0.99)], wrong, said)


class WebSocket:
    """Upgrade once, then one message there and back at a time on each connection."""

    tools = []

    def probe(self, port, _setup):
        try:
            connection = websocket.connect(port)
        except websocket.Refused as refusal:
            if " 426 " in str(refusal):
                raise machine.Unsupported("it forwards the request without its upgrade to WebSocket") from refusal
            return str(refusal)
        with connection:
            connection.sendall(websocket.frame_from_client(websocket.MESSAGE))
            expected = websocket.frame_from_server(websocket.MESSAGE)
            received = connection.recv(len(expected), socket.MSG_WAITALL)
            return None if received == expected else f"the echo is {received!r}"

    def run(self, port, _setup, seconds, core, _directory):
        program = str(Path(websocket.__file__))
        return result_line(core, [sys.executable, program, "load", str(port), str(seconds), str(CONNECTIONS)])


class Handshakes:
    """A TLS connection for each request, every one of them with a full handshake or every one resumed."""

    tools = []

    def __init__(self, kind):
        self.kind = kind

    def probe(self, port, _setup):
        answered, _, _ = handshakes.ask(port, handshakes.client())
        return None if answered else "the answer is not the one expected"

    def run(self, port, _setup, seconds, core, directory):
        arguments = ["load", str(port), str(seconds), str(HANDSHAKE_CONNECTIONS), self.kind]
        return result_line(core, [sys.executable, handshakes.__file__, *arguments], certificates.of(directory).for_clients())


def url(port, setup, path):
    return f"https://{certificates.NAME}:{port}{path}" if setup.tls_in else f"http://127.0.0.1:{port}{path}"


def require_h2(port):
    """Raises Unsupported if the proxy answers the preface of HTTP/2 in HTTP/1.1, or with nothing."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(handshakes.PREFACE)
        try:
            first = connection.recv(9)
        except OSError:
            first = b""
    if len(first) < 4 or first[3] != 4:  # a server's first frame is SETTINGS, RFC 9113 section 3.4
        raise machine.Unsupported("it does not speak HTTP/2 in clear text")


def on_core(core, command, environment=None):
    done = subprocess.run(["taskset", "-c", str(core), *command], capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        machine.fail(70, f"{Path(command[0]).name} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def result_line(core, command, environment=None):
    said = on_core(core, command, environment)
    line = next(line for line in said.splitlines() if line.startswith("RESULT "))
    return figures(*map(int, line.split()[1:]), said)


def figures(requests, microseconds, p50, p99, wrong, said):
    if wrong or not requests:
        machine.fail(70, f"{wrong} of {requests} requests failed; figures with failures compare nothing\n{said}")
    return {"requests": requests, "requests_per_second": requests / microseconds * 1e6, "p50_us": p50, "p99_us": p99}


MANY_APIS = Setup(base_paths=upstreams.API_PATHS)
SMALL = upstreams.SMALL_BYTES
GRPC_BYTES = len(upstreams.GRPC_MESSAGE)

LOADS = {load.name: load for load in [
    Load(
        "get-128", "GET, 128 bytes down", Wrk("/small", SMALL),
        targets={"haproxy": Target(0.80), "nginx": Target(0.90, stretch=0.80), "envoy": Target(0.30)},
    ),
    Load(
        "get-10k", "GET, 10 KiB down", Wrk("/large", upstreams.LARGE_BYTES),
        targets={"haproxy": Target(0.80), "nginx": Target(0.80), "envoy": Target(0.30)},
    ),
    Load(
        "post-1k", "POST, 1 KiB up, 2 bytes down", Wrk("/sink", 2, method="POST", sent=1024),
        targets={"haproxy": Target(0.95), "nginx": Target(0.95), "envoy": Target(0.30)},
    ),
    Load("connect", "GET, 128 bytes down, a new client connection for each", Wrk("/small", SMALL, headers={"Connection": "close"})),
    Load(
        "h2", f"HTTP/2 GET, 128 bytes down, {H2_CONNECTIONS} connections x {H2_STREAMS} streams; HTTP/1.1 to the upstream",
        H2load("/small", SMALL), Setup(h2_in=True), targets={"haproxy": Target(1.10, stretch=1.0)},
    ),
    Load(
        "grpc", f"gRPC unary, messages of 32 bytes, HTTP/2 on both sides, {H2_CONNECTIONS} connections x {H2_STREAMS} streams",
        H2load(
            upstreams.GRPC_PATH, GRPC_BYTES, ("content-type: application/grpc", "te: trailers"),
            upstreams.GRPC_MESSAGE, "grpc-status: 0",
        ),
        Setup("grpc", h2_in=True, h2_out=True),
    ),
    Load("websocket", "WebSocket echo, messages of 64 bytes; a request is one message there and back", WebSocket(), Setup("echo", tunnels=True)),
    Load(
        "apis-1000", "GET, 128 bytes down, spread over 1,000 base paths", Wrk("/small", SMALL, spread=True), MANY_APIS,
        beside={"one API": Setup(base_paths=upstreams.API_PATHS[:1])}, targets={"one API": Target(1.05)},
    ),
    Load(
        "policies", "GET, 128 bytes down, through four policies; the peers have none",
        Wrk("/small", SMALL, headers={"Authorization": "Basic YmVuY2g6YmVuY2g="}, refused_without="Authorization"),
        Setup(policies=True), Setup(), beside={"no policy": Setup()}, targets={"haproxy": Target(1.0)},
    ),
    Load(
        "limit", f"GET, 128 bytes down, under a limit counted through Redis, in-process, and through one {upstreams.FAR_MS} ms away",
        Wrk("/small", SMALL), Setup(limit="shared"), beside={"in-process": Setup(limit="in-process"), "far Redis": Setup(limit="far")},
        alone=True, targets={"in-process": Target(1.10)},
    ),
    Load(
        "tls-128", "GET, 128 bytes down, over TLS 1.3; HTTP/1.1 in clear text to the upstream",
        Wrk("/small", SMALL), Setup(tls_in=True), targets={"nginx": Target(0.70)},
    ),
    Load(
        "tls-10k", "GET, 10 KiB down, over TLS 1.3; HTTP/1.1 in clear text to the upstream",
        Wrk("/large", upstreams.LARGE_BYTES), Setup(tls_in=True), targets={"nginx": Target(0.80)},
    ),
    Load(
        "tls-upstream", "GET, 128 bytes down, in clear text; over TLS 1.3 to the upstream, whose certificate is verified",
        Wrk("/small", SMALL), Setup("files over TLS", tls_out=True), targets={"nginx": Target(0.95)},
    ),
    Load(
        "h2-tls", f"HTTP/2 GET over TLS 1.3, 128 bytes down, {H2_CONNECTIONS} connections x {H2_STREAMS} streams; else as h2",
        H2load("/small", SMALL), Setup(h2_in=True, tls_in=True), targets={"haproxy": Target(1.10)},
    ),
    Load(
        "handshake-full", "GET, 128 bytes down, a new connection and a full handshake of TLS 1.3 for each",
        Handshakes("full"), Setup(tls_in=True), targets={"envoy": Target(0.60)},
    ),
    Load(
        "handshake-resumed", "GET, 128 bytes down, a new connection for each, its session of TLS 1.3 resumed by ticket",
        Handshakes("resumed"), Setup(tls_in=True),
    ),
]}
