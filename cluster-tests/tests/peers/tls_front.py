"""Ends TLS with Python's OpenSSL and passes the bytes on to a plain upstream. Its argument is JSON; for each handshake it
writes a line of JSON, after the line with its port."""

import json
import os
import socket
import ssl
import sys
import threading

terms = json.loads(sys.argv[1])
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
# Weak peers are played too.
context.set_ciphers(terms.get("ciphers", "DEFAULT:@SECLEVEL=0"))
versions = {"1.1": ssl.TLSVersion.TLSv1_1, "1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
context.minimum_version = versions[terms.get("min", "1.1")]
context.maximum_version = versions[terms.get("max", "1.3")]
context.load_cert_chain(terms["crt"], terms["key"])
if "alpn" in terms:
    context.set_alpn_protocols(terms["alpn"])
if "client_ca" in terms:
    context.verify_mode = ssl.CERT_OPTIONAL if terms.get("optional") else ssl.CERT_REQUIRED
    context.load_verify_locations(terms["client_ca"])

names = {}
context.sni_callback = lambda session, name, _: names.__setitem__(session, name)
listener = socket.create_server(("127.0.0.1", terms.get("listen", 0)), backlog=512)
said = threading.Lock()


def say(value):
    with said:
        print(value, flush=True)


def common_name(certificate):
    subject = (certificate or {}).get("subject", ())
    return next((value for part in subject for key, value in part if key == "commonName"), None)


def pump(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        if terms.get("notify") and isinstance(sink, ssl.SSLSocket):
            # The alert is sent at once; the answer to it is not waited for.
            sink.settimeout(0)
            sink.unwrap()
    except OSError:
        pass
    for end in (source, sink):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def serve(raw):
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        client = context.wrap_socket(raw, server_side=True)
        upstream = socket.create_connection(("127.0.0.1", terms["port"]))
    except OSError as error:
        say(json.dumps({"error": str(error)}))
        raw.close()
        return
    say(
        json.dumps(
            {
                "sni": names.pop(client, None),
                "alpn": client.selected_alpn_protocol(),
                "version": client.version(),
                "cipher": client.cipher()[0],
                "client": common_name(client.getpeercert()),
                "reused": client.session_reused,
            }
        )
    )
    upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    threading.Thread(target=pump, args=(client, upstream), daemon=True).start()
    pump(upstream, client)


presented = os.stat(terms["crt"]).st_mtime_ns
say(listener.getsockname()[1])
while True:
    client = listener.accept()[0]
    if terms.get("renew") and (written := os.stat(terms["crt"]).st_mtime_ns) != presented:
        context.load_cert_chain(terms["crt"], terms["key"])
        presented = written
    threading.Thread(target=serve, args=(client,), daemon=True).start()
