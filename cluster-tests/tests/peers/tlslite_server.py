"""A TLS server of tlslite-ng that has 3DES and nothing else. The arguments name its certificate and key. For each line `VERSION` it
listens at a port of its own and says which; each request is answered with `SUITE VERSION`."""

import socket
import sys
import threading

from tlslite.api import HandshakeSettings, TLSConnection, X509CertChain, parsePEMKey
from tlslite.constants import CipherSuite
from tlslite.errors import TLSLocalAlert

VERSIONS = {"1.1": (3, 2), "1.2": (3, 3)}


def read(name):
    with open(name, encoding="ascii") as file:
        return file.read()


CHAIN = X509CertChain()
CHAIN.parsePemList(read(sys.argv[1]))
KEY = parsePEMKey(read(sys.argv[2]), private=True)


def serve(plain, version):
    offered = HandshakeSettings()
    offered.minVersion = offered.maxVersion = VERSIONS[version]
    offered.cipherNames, offered.macNames, offered.keyExchangeNames = ["3des"], ["sha"], ["rsa"]
    connection = TLSConnection(plain)
    try:
        connection.handshakeServer(certChain=CHAIN, privateKey=KEY, settings=offered)
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            piece = connection.recv(1000)
            if not piece:
                return
            request += piece
        text = f"{CipherSuite.ietfNames[connection.session.cipherSuite]} {version}"
        head = f"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {len(text)}\r\n\r\n"
        connection.sendall((head + text).encode())
        connection.close()
    except TLSLocalAlert:
        # Clients without 3DES are meant to fail; what they say of it is what the test looks at.
        pass
    finally:
        plain.close()


def accept(listener, version):
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0], version), daemon=True).start()


for line in sys.stdin:
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=accept, args=(listener, line.strip()), daemon=True).start()
    print(listener.getsockname()[1], flush=True)
