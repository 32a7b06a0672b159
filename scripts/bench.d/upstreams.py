"""What the proxies forward to; it shares a core with the load generators."""

import contextlib
import functools
import json
import socket
import sys
import time
from pathlib import Path

import certificates
import machine
from proxies import NGINX_TLS, nginx_words

SMALL_BYTES = 128
LARGE_BYTES = 10 * 1024
FAR_MS = 50
API_PATHS = tuple(f"/api{number:04}" for number in range(1000))

GRPC_PATH = "/bench.Echo/Say.grpc"
# One message of 32 bytes: no compression, length, bytes (the gRPC wire format, "Length-Prefixed-Message").
GRPC_MESSAGE = b"\0" + (32).to_bytes(4, "big") + b"g" * 32

# What `/tls` of the upstream over TLS answers, asked through a proxy.
AGREED = f"HTTP/1.1 TLSv1.3 {certificates.SUITES[0]} {certificates.NAME}".encode()

NGINX = """
{user} worker_processes 1; daemon off; pid {dir}/{name}.pid; error_log {dir}/{name}.log error;
events {{ worker_connections 16384; }}
http {{
  access_log off; sendfile on; tcp_nopush on; open_file_cache max=4096 inactive=1h; keepalive_requests 1000000000;
  keepalive_timeout 1h; default_type application/octet-stream; {temp}
  server {{
    listen 127.0.0.1:{port} {ssl} backlog=4096; {tls} root {dir}/www;
    location = /sink {{ return 200 "ok"; }}
    location = /tls {{ return 200 "$server_protocol $ssl_protocol $ssl_cipher $ssl_server_name"; }}
  }}
}}
"""


@functools.cache
def write_files(www):
    www.mkdir()
    (www / "small").write_bytes(b"s" * SMALL_BYTES)
    (www / "large").write_bytes(b"l" * LARGE_BYTES)
    for path in API_PATHS:
        (www / path[1:]).symlink_to(www)


def files(directory, port, name="files", ssl="", tls=""):
    """nginx with two files and a sink. Every base path also leads there, for peers that forward it as it came."""
    write_files(directory / "www")
    config = directory / f"{name}.conf"
    config.write_text(NGINX.format(port=port, name=name, ssl=ssl, tls=tls, **nginx_words(directory, name)))
    return [machine.tool("nginx"), "-e", str(directory / f"{name}.log"), "-p", str(directory), "-c", str(config)]


def files_over_tls(directory, port):
    return files(directory, port, "files-over-tls", "ssl", NGINX_TLS.format(**vars(certificates.of(directory))))


def grpc(directory, port):
    """nghttpd answers every call with one message and the trailer `grpc-status: 0`; it does not read the request's."""
    answer = directory / "grpc" / GRPC_PATH[1:]
    answer.parent.mkdir(parents=True)
    answer.write_bytes(GRPC_MESSAGE)
    types = directory / "grpc.types"
    types.write_text("application/grpc grpc\n")
    return [
        machine.tool("nghttpd"), "--no-tls", "-a", "127.0.0.1", "-d", str(directory / "grpc"),
        f"--mime-types-file={types}", "--trailer", "grpc-status: 0", str(port),
    ]


def echo(_directory, port):
    return [sys.executable, str(Path(__file__).parent / "websocket.py"), "echo", str(port)]


def redis(directory, port):
    (directory / "redis.port").write_text(str(port))
    return [machine.tool("redis-server"), "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(directory)]


def far_redis(directory, port):
    """The same one behind a link that delays each way; it is started before."""
    target = int((directory / "redis.port").read_text())
    plan = directory / "far-redis.json"
    link = {"port": port, "delay_ms": FAR_MS / 2, "cut": False}
    plan.write_text(json.dumps({"target": target, "links": {"far": link}}))
    return [sys.executable, str(machine.ROOT / "scripts" / "cluster.d" / "links.py"), str(plan)]


STARTERS = {
    "files": files, "files over TLS": files_over_tls, "grpc": grpc, "echo": echo, "redis": redis, "far redis": far_redis,
}


class Upstreams:
    """Started when a load first asks for them; they live as long as the run."""

    def __init__(self, running, directory, core):
        self.running, self.directory, self.core, self.ports = running, directory, core, {}

    def port(self, name):
        if name not in self.ports:
            port = machine.free_port()
            command = STARTERS[name](self.directory, port)
            process = self.running.start(name, command, self.core, self.directory / f"upstream-{name}.out")
            wait_until_it_listens(process, port)
            self.ports[name] = port
        return self.ports[name]


def wait_until_it_listens(process, port):
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and process.lives():
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    machine.fail(69, f"the upstream `{process.name}` does not listen; it said:\n{process.said()}")
