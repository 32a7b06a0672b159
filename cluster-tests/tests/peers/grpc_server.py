"""A gRPC server whose messages are plain bytes. Its argument is the port, 0 for any; it says which it listens on. With a second
one it sends GOAWAY on connections of that age, in milliseconds. SIGTERM ends it."""

import json
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc

THREADS = 128
PATIENCE = 30

seen = []
together = threading.Barrier(100)


def echo(request, _):
    return request


def collect(requests, _):
    return json.dumps([len(request) for request in requests]).encode()


def count(request, _):
    for number in range(int(request)):
        yield b"%d" % number


def chat(requests, _):
    yield from requests


def fail(request, context):
    code, _, details = request.decode().partition(" ")
    context.set_trailing_metadata((("reason", "asked for"), ("reason-bin", b"\x00\xff")))
    context.abort(grpc.StatusCode[code], details)


def fail_late(request, context):
    yield b"one"
    fail(request, context)


def metadata(_, context):
    received = [[key, value if isinstance(value, str) else list(value)] for key, value in context.invocation_metadata()]
    context.send_initial_metadata((("head", "of the server"), ("head-bin", b"\x00\x01\xfe\xff")))
    context.set_trailing_metadata((("tail", "first"), ("tail", "second"), ("tail-bin", b"\xff\x00")))
    return json.dumps(received).encode()


def note_until_its_end(request, context):
    """What a call knows of its deadline, and then that it was ended by the other side."""
    ended = threading.Event()
    context.add_callback(ended.set)
    seen.append([request.decode(), "begun", context.time_remaining()])
    yield b"begun"
    if ended.wait(PATIENCE):
        seen.append([request.decode(), "ended", None])


def note_without_answer(request, context):
    for _ in note_until_its_end(request, context):
        pass
    return b""


def meet(request, _):
    """Answers when a hundred such calls are under way."""
    together.wait(PATIENCE)
    return request


def what_was_seen(*_):
    return json.dumps(seen).encode()


HANDLERS = {
    "Echo": grpc.unary_unary_rpc_method_handler(echo),
    "Collect": grpc.stream_unary_rpc_method_handler(collect),
    "Count": grpc.unary_stream_rpc_method_handler(count),
    "Chat": grpc.stream_stream_rpc_method_handler(chat),
    "Fail": grpc.unary_unary_rpc_method_handler(fail),
    "FailLate": grpc.unary_stream_rpc_method_handler(fail_late),
    "Metadata": grpc.unary_unary_rpc_method_handler(metadata),
    "Endless": grpc.unary_stream_rpc_method_handler(note_until_its_end),
    "Silent": grpc.unary_unary_rpc_method_handler(note_without_answer),
    "Meet": grpc.unary_unary_rpc_method_handler(meet),
    "Seen": grpc.unary_unary_rpc_method_handler(what_was_seen),
}


def main():
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    if len(sys.argv) > 2:
        options.append(("grpc.max_connection_age_ms", int(sys.argv[2])))
    server = grpc.server(ThreadPoolExecutor(THREADS), options=options)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("peers.Peer", HANDLERS)])
    port = server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
    server.start()
    asked_to_end = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: asked_to_end.set())
    print(port, flush=True)
    asked_to_end.wait()
    server.stop(PATIENCE).wait()
    print("ended", flush=True)


main()
