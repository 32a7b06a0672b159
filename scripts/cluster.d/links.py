"""A local process between each replica and Redis: links that pass bytes on, later, or not at all.

Usage: links.py FILE. FILE is JSON, {"target": PORT, "links": {NAME: {"port": PORT, "delay_ms": N, "cut": BOOL}}}, and is read
again whenever it changes. A link that is cut holds what it was given, as a network without a route does, until it is joined.
"""

import asyncio
import json
import sys
from pathlib import Path

CHUNK_BYTES = 64 * 1024
# Bounds what a link holds in each direction.
CHUNKS_MAX = 256


class Link:
    def __init__(self):
        self.delay_s = 0
        self.flows = asyncio.Event()

    def set(self, wanted):
        self.delay_s = wanted["delay_ms"] / 1000
        if wanted["cut"]:
            self.flows.clear()
        else:
            self.flows.set()

    async def serve(self, target, reader, writer):
        await self.flows.wait()
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", target)
        except OSError:
            writer.close()
            return
        await asyncio.gather(self.pass_on(reader, far_writer), self.pass_on(far_reader, writer))

    async def pass_on(self, reader, writer):
        held = asyncio.Queue(CHUNKS_MAX)
        deliver = asyncio.create_task(self.deliver(held, writer))
        now = asyncio.get_running_loop().time
        try:
            while chunk := await reader.read(CHUNK_BYTES):
                await held.put((now() + self.delay_s, chunk))
        except OSError:
            pass
        await held.put((now(), b""))
        await deliver

    async def deliver(self, held, writer):
        now = asyncio.get_running_loop().time
        broken = False
        while True:
            due, chunk = await held.get()
            await asyncio.sleep(max(0, due - now()))
            await self.flows.wait()
            if not chunk:
                writer.close()
                return
            try:
                if not broken:
                    writer.write(chunk)
                    await writer.drain()
            except OSError:
                broken = True


async def main(file):
    seen, links, servers = None, {}, []
    while True:
        wanted = file.read_text()
        if wanted != seen:
            seen, plan = wanted, json.loads(wanted)
            for name, link in plan["links"].items():
                if name not in links:
                    links[name] = Link()
                    serve = lambda reader, writer, link=links[name]: link.serve(plan["target"], reader, writer)
                    servers.append(await asyncio.start_server(serve, "127.0.0.1", link["port"]))
                links[name].set(link)
        await asyncio.sleep(0.02)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
