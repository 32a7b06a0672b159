"""Usage: handshakes.py probe PORT PROTOCOL AUTHORITY

`probe` says what differs from the TLS that all proxies are to speak; nothing if nothing does. It is a program because
only the environment tells OpenSSL which suites of TLS 1.3 to prefer.
"""

import socket
import ssl
import sys

from certificates import NAME, SUITES

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


if __name__ == "__main__":
    try:
        if sys.argv[1:2] == ["probe"] and len(sys.argv) == 5:
            print(probe(int(sys.argv[2]), *sys.argv[3:]))
        else:
            sys.exit(__doc__)
    except OSError as error:
        print(error)
