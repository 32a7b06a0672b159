"""A WebSocket client: speaks to an echo server at the URL given, and says which steps held."""

import asyncio
import os
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed


def ok(step):
    print(f"ok: {step}", flush=True)


async def main(url):
    options = {"max_size": None, "compression": None, "proxy": None}
    async with connect(url, **options) as connection:
        await connection.send("grüße")
        assert await connection.recv() == "grüße"
        ok("text")

        parts = [os.urandom(size) for size in (0, 1, 70_000, 125, 126, 65_536)]
        await connection.send(iter(parts))
        assert await connection.recv() == b"".join(parts)
        ok("fragments")

        message = os.urandom(16 * 1024 * 1024)
        sending = asyncio.create_task(connection.send(message))
        assert await connection.recv() == message
        await sending
        ok("16 MiB")

        for number in range(1000):
            await connection.send(str(number))
        for number in range(1000):
            assert await connection.recv() == str(number)
        ok("many")

        await asyncio.wait_for(await connection.ping(b"x" * 125), 20)
        ok("ping")
        await connection.close(1000, "done")
        assert connection.close_code == 1000
        ok("close by the client")

    async with connect(url.replace("/echo", "/ping"), **options) as connection:
        assert await connection.recv() == "pong"
        ok("pong from the server")

    async with connect(url.replace("/echo", "/leave"), **options) as connection:
        try:
            await connection.recv()
            raise AssertionError("the server did not leave")
        except ConnectionClosed as closed:
            assert (closed.rcvd.code, closed.rcvd.reason) == (4000, "the server leaves"), closed
        ok("close by the server")


asyncio.run(asyncio.wait_for(main(sys.argv[1]), 60))
