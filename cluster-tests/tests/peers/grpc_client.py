"""A gRPC client whose messages are plain bytes. Its arguments are the port, one of the steps below, and what that step takes;
a step that does not hold ends in a traceback. It waits for a line of its input where somebody else is to do something first."""

import json
import os
import queue
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import grpc

PATIENCE = 30


def method(channel, kind, name):
    return getattr(channel, kind)(f"/peers.Peer/{name}")


def unary(channel, name):
    return method(channel, "unary_unary", name)


def failure(call):
    """How a call fails; to be waited for."""
    try:
        answer = call()
    except grpc.RpcError as error:
        return error
    raise AssertionError(f"it did not fail: {answer!r}")


def say(text):
    print(text, flush=True)


def await_line():
    assert sys.stdin.readline(), "the input has ended"


def await_seen(channel, *entry):
    """Waits until the server has seen something; the last value of its entry."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        seen = json.loads(unary(channel, "Seen")(b"", timeout=PATIENCE))
        for *what, value in seen:
            if what == list(entry):
                return value
        time.sleep(0.02)
    raise AssertionError(f"the server has not seen {entry}: {seen}")


class Requests:
    """The requests of a stream, each sent when it is put."""

    def __init__(self):
        self.waiting = queue.Queue()

    def put(self, request):
        self.waiting.put(request)

    def end(self):
        self.waiting.put(None)

    def __iter__(self):
        return iter(self.waiting.get, None)


def call_unary(channel):
    for request in (b"", b"hello", os.urandom(100_000)):
        assert unary(channel, "Echo")(request, timeout=PATIENCE) == request


def client_streaming(channel):
    sizes = [0, 1, 16_384, 16_385, 300_000] * 20
    answer = method(channel, "stream_unary", "Collect")((bytes(size) for size in sizes), timeout=PATIENCE)
    assert json.loads(answer) == sizes


def server_streaming(channel):
    answers = list(method(channel, "unary_stream", "Count")(b"2000", timeout=PATIENCE))
    assert answers == [b"%d" % number for number in range(2000)]
    assert list(method(channel, "unary_stream", "Count")(b"0", timeout=PATIENCE)) == []


def ping_pong(requests, answers, rounds):
    for number in range(rounds):
        request = b"%d" % number * (number % 50 + 1)
        requests.put(request)
        assert next(answers) == request


def bidirectional(channel):
    requests = Requests()
    answers = method(channel, "stream_stream", "Chat")(iter(requests), timeout=PATIENCE)
    ping_pong(requests, answers, 200)
    requests.end()
    assert list(answers) == []
    assert answers.code() == grpc.StatusCode.OK


def statuses(channel):
    codes = [code for code in grpc.StatusCode if code != grpc.StatusCode.OK]
    for code in codes:
        details = f"{code.name}: 100 % grüße"
        asked = f"{code.name} {details}".encode()
        error = failure(lambda asked=asked: unary(channel, "Fail")(asked, timeout=PATIENCE))
        assert (error.code(), error.details()) == (code, details), error
        trailing = dict(error.trailing_metadata())
        assert trailing["reason"] == "asked for" and trailing["reason-bin"] == b"\x00\xff", trailing


def late_status(channel):
    answers = method(channel, "unary_stream", "FailLate")(b"ABORTED in the middle", timeout=PATIENCE)
    assert next(answers) == b"one"
    error = failure(lambda: next(answers))
    assert (error.code(), error.details()) == (grpc.StatusCode.ABORTED, "in the middle"), error
    assert ("reason-bin", b"\x00\xff") in [tuple(pair) for pair in error.trailing_metadata()]


def metadata(channel):
    sent = [("a", "1"), ("a", "two, three"), ("b-bin", b"\x00\xff\x80"), ("b-bin", b""), ("c", "x" * 3000)]
    answer, call = unary(channel, "Metadata").with_call(b"", metadata=sent, timeout=PATIENCE)
    received = {}
    for key, value in json.loads(answer):
        received.setdefault(key, []).append(value)
    assert ",".join(received["a"]).replace(", ", ",") == "1,two,three", received
    assert received["b-bin"] == [[0, 255, 128], []], received
    assert received["c"] == ["x" * 3000], received
    head = [tuple(pair) for pair in call.initial_metadata()]
    assert ("head", "of the server") in head and ("head-bin", b"\x00\x01\xfe\xff") in head, head
    tail = [tuple(pair) for pair in call.trailing_metadata()]
    for pair in (("tail", "first"), ("tail", "second"), ("tail-bin", b"\xff\x00")):
        assert pair in tail, tail


def deadline(channel):
    for name, kind in (("Silent", "unary_unary"), ("Endless", "unary_stream")):
        call = method(channel, kind, name)
        error = failure(lambda call=call, name=name: list(call(name.encode(), timeout=2)))
        assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
        remaining = await_seen(channel, name, "begun")
        assert remaining is not None and 0 < remaining < 3, remaining
        await_seen(channel, name, "ended")


def cancellation(channel):
    """Without a deadline, so that nothing but the cancellation ends the call at the server."""
    silent = unary(channel, "Silent").future(b"silent")
    endless = method(channel, "unary_stream", "Endless")(b"endless")
    assert next(endless) == b"begun"
    for name, call in (("silent", silent), ("endless", endless)):
        remaining = await_seen(channel, name, "begun")
        assert remaining is None or remaining > 3600, remaining
        call.cancel()
        assert call.code() == grpc.StatusCode.CANCELLED
        await_seen(channel, name, "ended")


def large_messages(channel):
    message = os.urandom(16 * 1024 * 1024)
    assert unary(channel, "Echo")(message, timeout=PATIENCE) == message
    answers = method(channel, "stream_stream", "Chat")(iter([message, b"small", message]), timeout=PATIENCE)
    assert list(answers) == [message, b"small", message]


def hundred_at_once(channel):
    calls = [unary(channel, "Meet").future(b"%d" % number, timeout=PATIENCE) for number in range(100)]
    assert [call.result() for call in calls] == [b"%d" % number for number in range(100)]


def status(channel, *metadata):
    """Says how calls of each kind end, one line each."""
    sent = [tuple(entry.split("=", 1)) for entry in metadata]
    for kind, name in (("unary_unary", "Echo"), ("unary_stream", "Count"), ("stream_stream", "Chat")):
        request = iter([b"1"]) if kind == "stream_stream" else b"1"
        call = method(channel, kind, name)
        try:
            answers = call(request, metadata=sent, timeout=PATIENCE)
            say(f"{name} OK {b''.join(answers if kind != 'unary_unary' else [answers]).decode()}")
        except grpc.RpcError as error:
            say(f"{name} {error.code().name} {error.details()}")


def across_goaways(channel, seconds):
    """Four callers that never pause, and a stream that outlives the connections of the others."""
    until = time.monotonic() + float(seconds)

    def caller(number):
        done = 0
        while time.monotonic() < until:
            request = b"%d %d" % (number, done)
            assert unary(channel, "Echo")(request, timeout=PATIENCE) == request
            done += 1
        return done

    def streamer():
        requests = Requests()
        answers = method(channel, "stream_stream", "Chat")(iter(requests), timeout=PATIENCE)
        while time.monotonic() < until:
            ping_pong(requests, answers, 1)
            time.sleep(0.05)
        requests.end()
        assert list(answers) == []

    with ThreadPoolExecutor(5) as callers:
        streaming = callers.submit(streamer)
        running = [callers.submit(caller, number) for number in range(4)]
        assert all(caller.result() > 20 for caller in running)
        streaming.result()


def at_intervals(channel):
    """A call whenever told to."""
    for _ in range(4):
        call_unary(channel)
        say("called")
        await_line()


def running_stream(channel):
    """A stream that is open while something happens."""
    requests = Requests()
    answers = method(channel, "stream_stream", "Chat")(iter(requests), timeout=PATIENCE)
    ping_pong(requests, answers, 3)
    say("open")
    await_line()
    ping_pong(requests, answers, 20)
    requests.end()
    assert list(answers) == []
    assert answers.code() == grpc.StatusCode.OK


STEPS = (
    call_unary, client_streaming, server_streaming, bidirectional, statuses, late_status, metadata, deadline, cancellation,
    large_messages, hundred_at_once, status, across_goaways, at_intervals, running_stream,
)  # fmt: skip


def main(port, step, *arguments):
    unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(f"127.0.0.1:{port}", [*unlimited, ("grpc.enable_http_proxy", 0)]) as channel:
        {step.__name__: step for step in STEPS}[step](channel, *arguments)
    say("done")


main(*sys.argv[1:])
