"""hasty_client.py PORT CERTIFICATE KEY: twenty connections over TLS 1.3, a request on each as soon as the handshake is done here;
writes a line for each: what it was told then, by its name in OpenSSL, or the answer."""

import socket
import ssl
import sys

PORT, CERTIFICATE, KEY = int(sys.argv[1]), sys.argv[2], sys.argv[3]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
context.minimum_version = ssl.TLSVersion.TLSv1_3
context.load_cert_chain(CERTIFICATE, KEY)

for _ in range(20):
    with socket.create_connection(("127.0.0.1", PORT)) as plain:
        try:
            with context.wrap_socket(plain, server_hostname="gateway.test") as secured:
                secured.sendall(b"GET / HTTP/1.1\r\nHost: gateway.test\r\n\r\n")
                told = secured.recv(100)
        except ssl.SSLError as error:
            told = error.reason
        except OSError as error:
            told = error
    print(told, flush=True)
