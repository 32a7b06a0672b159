"""Clients over TLS that count what went wrong: some keep their connection, some open one for each request.

Usage: tls_load.py PORT CA CRT KEY KEPT FRESH. Ends when its input does, and prints one line of JSON.
"""

import json
import socket
import ssl
import sys
import threading

port, ca, crt, key, kept, fresh = int(sys.argv[1]), *sys.argv[2:5], *map(int, sys.argv[5:7])
stop = threading.Event()
lock = threading.Lock()
tally = {"answered": 0, "failed": 0, "connections": 0, "resumed": 0, "told": []}


def context():
    made = ssl.create_default_context(cafile=ca)
    made.load_cert_chain(crt, key)
    # One session for all connections of a client would hide full handshakes.
    return made


def connect(made, session):
    raw = socket.create_connection(("127.0.0.1", port), timeout=20)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection = made.wrap_socket(raw, server_hostname="gateway.test", session=session)
    with lock:
        tally["connections"] += 1
        tally["resumed"] += connection.session_reused
    return connection


def ask(connection):
    connection.sendall(b"GET /shop HTTP/1.1\r\nHost: gateway.test\r\n\r\n")
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            raise OSError(f"closed after {len(data)} bytes of a head")
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")
    fields = dict(line.split(": ", 1) for line in lines[1:])
    while len(body) < int(fields["content-length"]):
        more = connection.recv(65536)
        if not more:
            raise OSError(f"closed after {len(body)} bytes of a body")
        body += more
    if " 200 " not in lines[0] + " ":
        raise OSError(lines[0])
    return fields.get("connection") == "close"


def client(keeps):
    made, connection, session = context(), None, None
    while not stop.is_set():
        reused = connection is not None
        try:
            connection = connection or connect(made, session)
            closes = ask(connection)
            with lock:
                tally["answered"] += 1
            session = connection.session
            if closes or not keeps:
                connection.close()
                connection = None
        except (OSError, ValueError) as error:
            connection = None
            with lock:
                tally["failed"] += 1
                if len(tally["told"]) < 10:
                    tally["told"].append(f"reused {reused}: {error!r}")


threads = [threading.Thread(target=client, args=(number < kept,)) for number in range(kept + fresh)]
for thread in threads:
    thread.start()
print("ready", flush=True)
sys.stdin.read()
stop.set()
for thread in threads:
    thread.join()
print(json.dumps(tally), flush=True)
