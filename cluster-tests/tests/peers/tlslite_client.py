"""A TLS client of tlslite-ng that offers 3DES and nothing else. For each line `PORT VERSION` it makes one handshake and one GET,
and says `SUITE VERSION STATUS`, or `refused: ALERT`."""

import socket
import sys

from tlslite.api import HandshakeSettings, TLSConnection
from tlslite.constants import AlertDescription, CipherSuite
from tlslite.errors import TLSAlert

VERSIONS = {"1.1": (3, 2), "1.2": (3, 3)}


def settings(version):
    offered = HandshakeSettings()
    offered.minVersion = offered.maxVersion = VERSIONS[version]
    offered.cipherNames, offered.macNames, offered.keyExchangeNames = ["3des"], ["sha"], ["rsa"]
    return offered


def ask(port, version):
    with socket.create_connection(("127.0.0.1", port), 20) as plain:
        connection = TLSConnection(plain)
        try:
            connection.handshakeClientCert(serverName="rsa.test", settings=settings(version))
        except TLSAlert as alert:
            # Of either side: a server of 1.1 answers a client of 1.2 with that, and the client leaves.
            return "refused: " + AlertDescription.toStr(alert.description)
        connection.sendall(b"GET / HTTP/1.1\r\nHost: rsa.test\r\nConnection: close\r\n\r\n")
        answer = b""
        while b"\r\n" not in answer:
            piece = connection.recv(1000)
            if not piece:
                break
            answer += piece
        status = answer.split(b" ")[1].decode() if answer.startswith(b"HTTP/1.1 ") else "none"
        negotiated = next(name for name, number in VERSIONS.items() if number == connection.version)
        return f"{CipherSuite.ietfNames[connection.session.cipherSuite]} {negotiated} {status}"


for line in sys.stdin:
    words = line.split()
    print(ask(int(words[0]), words[1]), flush=True)
