"""A WebSocket server: echoes messages; on /leave it closes, on /ping it pings and says what came back. Its port stands in the file
that the argument names."""

import asyncio
import sys

from websockets.asyncio.server import serve


async def handle(connection):
    path = connection.request.path
    if path == "/leave":
        await connection.close(4000, "the server leaves")
    elif path == "/ping":
        waiter = await connection.ping(b"are you there")
        await asyncio.wait_for(waiter, 20)
        await connection.send("pong")
    else:
        async for message in connection:
            await connection.send(message)


async def main(port):
    async with serve(handle, "127.0.0.1", port, max_size=None, compression=None) as server:
        await server.serve_forever()


with open(sys.argv[1], encoding="ascii") as file:
    asyncio.run(main(int(file.read())))
