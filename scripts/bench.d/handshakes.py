"""Usage: handshakes.py probe PORT PROTOCOL AUTHORITY | handshakes.py load PORT SECONDS CONNECTIONS full|resumed

`probe` says what differs from the TLS that all proxies are to speak; nothing if nothing does. It is a program because
only the environment tells OpenSSL which suites of TLS 1.3 to prefer.

`load` makes a connection of TLS 1.3 for each request, so many at a time, and prints
`RESULT requests microseconds p50_us p99_us wrong`. wrk cannot: nobody tells it, and it tells nobody, whether to resume a
session. Here a handshake is wrong if it is not of the kind asked for. It is slower than the proxies, which costs them nothing.
"""

import socket
import ssl
import sys
import threading
import time

from certificates import NAME, SUITES
from upstreams import SMALL_BYTES

VERSION = "TLSv1.3"
REQUEST = f"GET /small HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n".encode()
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"


def client(protocol="http/1.1", authority=None):
    """A context of TLS 1.3; without an authority it takes any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols([protocol])
    if authority:
        context.load_verify_locations(authority)
    else:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def connect(port, context, session=None):
    plain = socket.create_connection(("127.0.0.1", port), timeout=10)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(plain, server_hostname=NAME, session=session)


def probe(port, protocol, authority):
    """One version, suite and protocol, a certificate of this authority, and tickets."""
    context = client(protocol, authority)
    wanted, session = (VERSION, SUITES[0], protocol), None
    for resumed in (False, True):
        with connect(port, context, session) as connection:
            agreed = connection.version(), connection.cipher()[0], connection.selected_alpn_protocol()
            if agreed != wanted:
                return f"{agreed} instead of {wanted}"
            if connection.session_reused != resumed:
                return "a session is not resumed" if resumed else "a session is resumed that nobody offered"
            connection.sendall(PREFACE if protocol == "h2" else REQUEST)
            connection.recv(4096)  # tickets come before it
            session = connection.session
    return ""


def ask(port, context, session=None):
    """(answered, resumed, the latest session) of a connection that the proxy closes."""
    with connect(port, context, session) as connection:
        resumed = connection.session_reused
        connection.sendall(REQUEST)
        answer = b""
        while part := connection.recv(4096):
            answer += part
        answered = answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"\r\n\r\n" + b"s" * SMALL_BYTES)
        return answered, resumed, connection.session


def load(port, seconds, connections, resume):
    context = client()
    sessions = [ask(port, context)[2] if resume else None]
    times, wrong = [], []
    started = time.perf_counter()

    def work():
        while (before := time.perf_counter()) < started + seconds:
            try:
                answered, resumed, session = ask(port, context, sessions[0])
            except OSError as error:
                answered, resumed, session = error, False, None
            if answered is not True or resumed != resume:
                wrong.append((answered, resumed))
                continue
            times.append(time.perf_counter() - before)
            if resume:
                sessions[0] = session

    workers = [threading.Thread(target=work) for _ in range(connections)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    took = time.perf_counter() - started
    times.sort()
    at = lambda share: int(times[int(len(times) * share)] * 1e6) if times else 0
    print(f"RESULT {len(times)} {int(took * 1e6)} {at(0.50)} {at(0.99)} {len(wrong)}")
    if wrong:
        print(f"the first of them: answered {wrong[0][0]}, resumed {wrong[0][1]}")


if __name__ == "__main__":
    try:
        if sys.argv[1:2] == ["probe"] and len(sys.argv) == 5:
            print(probe(int(sys.argv[2]), *sys.argv[3:]))
        elif sys.argv[1:2] == ["load"] and len(sys.argv) == 6 and sys.argv[5] in ("full", "resumed"):
            load(int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]), sys.argv[5] == "resumed")
        else:
            sys.exit(__doc__)
    except OSError as error:
        print(error)
