"""Usage: websocket.py echo PORT | websocket.py load PORT SECONDS CONNECTIONS

Echo upstream and load generator for the WebSocket load, on bare sockets: the standard library has neither, and at the
rates measured here a general client would spend more than the proxy. Both speak RFC 6455 frames of up to 125 bytes.
The generator masks with zero, so that neither side spends time on it; a client in earnest picks masks at random.

`load` keeps one message of 64 bytes under way on each connection and prints
`RESULT messages microseconds p50_us p99_us wrong_answers`.
"""

import base64
import hashlib
import selectors
import socket
import sys
import time

MESSAGE = b"w" * 64
KEY = base64.b64encode(b"bench-websocket!").decode()
BINARY = 0x82


def accept_value(key):
    """Sec-WebSocket-Accept of a key, RFC 6455 section 4.2.2."""
    return base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()


def read_head(connection):
    """Bytes up to and with the empty line; what ends early is as it came."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        if not byte:
            break
        head += byte
    return head


def field(head, name):
    for line in head.decode("latin-1").split("\r\n")[1:]:
        key, _, value = line.partition(":")
        if key.strip().lower() == name:
            return value.strip()
    return ""


class Refused(Exception):
    """The first line of an answer that is not 101."""


def connect(port):
    """An open WebSocket.

    Raises Refused when the answer is another one, OSError when there is none.
    """
    connection = socket.create_connection(("127.0.0.1", port), timeout=5)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall((
        f"GET /socket HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    ).encode())
    head = read_head(connection)
    if not head.startswith(b"HTTP/1.1 101 ") or field(head, "sec-websocket-accept") != accept_value(KEY):
        connection.close()
        raise Refused(head.split(b"\r\n")[0].decode("latin-1") or "closed without an answer")
    return connection


def frame_from_client(payload):
    return bytes((BINARY, 0x80 | len(payload), 0, 0, 0, 0)) + payload


def frame_from_server(payload):
    return bytes((BINARY, len(payload))) + payload


# --- upstream ------------------------------------------------------------------------------------------------------


def echo(port):
    listener = socket.create_server(("127.0.0.1", port), backlog=4096)
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    unread = {}
    while True:
        for ready, _ in selector.select():
            if ready.fileobj is listener:
                connection, _ = listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if shake_hands(connection):
                    unread[connection] = b""
                    selector.register(connection, selectors.EVENT_READ)
                continue
            connection = ready.fileobj
            try:
                received = connection.recv(65536)
                answers, unread[connection] = answer(unread[connection] + received)
                connection.sendall(answers)
            except OSError:
                received = b""
            if not received:
                selector.unregister(connection)
                del unread[connection]
                connection.close()


def shake_hands(connection):
    """Whether it is a WebSocket now; a request without the upgrade is answered 426 and closed."""
    head = read_head(connection)
    if field(head, "upgrade").lower() != "websocket":
        connection.sendall(b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        connection.close()
        return False
    connection.sendall((
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Accept: {accept_value(field(head, 'sec-websocket-key'))}\r\n\r\n"
    ).encode())
    return True


def answer(received):
    """Frames that answer the whole frames in `received`, and the bytes left over."""
    answers, at = b"", 0
    while len(received) - at >= 6:
        length = received[at + 1] & 0x7F
        end = at + 6 + length
        if len(received) < end:
            break
        mask, payload = received[at + 2 : at + 6], received[at + 6 : end]
        if mask != b"\0\0\0\0":
            payload = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
        answers += bytes((received[at], length)) + payload
        at = end
    return answers, received[at:]


# --- load ----------------------------------------------------------------------------------------------------------


def load(port, seconds, connections):
    request, expected = frame_from_client(MESSAGE), frame_from_server(MESSAGE)
    selector = selectors.EpollSelector()
    sent_at, unread, times, wrong = {}, {}, [], 0
    started = time.perf_counter()
    end = started + seconds
    for _ in range(connections):
        connection = connect(port)
        selector.register(connection, selectors.EVENT_READ)
        sent_at[connection], unread[connection] = time.perf_counter(), b""
        connection.send(request)
    clock = time.perf_counter
    while clock() < end:
        for ready, _ in selector.select(1):
            connection = ready.fileobj
            received = unread[connection] + connection.recv(4096)
            if len(received) < len(expected) and expected.startswith(received) and received:
                unread[connection] = received
                continue
            if received != expected:
                wrong += 1
                selector.unregister(connection)
                continue
            now = clock()
            times.append(now - sent_at[connection])
            unread[connection], sent_at[connection] = b"", now
            connection.send(request)
    took = time.perf_counter() - started
    times.sort()
    at = lambda share: int(times[int(len(times) * share)] * 1e6) if times else 0
    print(f"RESULT {len(times)} {int(took * 1e6)} {at(0.50)} {at(0.99)} {wrong}")


if __name__ == "__main__":
    try:
        if sys.argv[1:2] == ["echo"] and len(sys.argv) == 3:
            echo(int(sys.argv[2]))
        elif sys.argv[1:2] == ["load"] and len(sys.argv) == 5:
            load(int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))
        else:
            sys.exit(__doc__)
    except KeyboardInterrupt:
        sys.exit(130)
