"""A far machine on loopback: a port whose bytes arrive later at another one, both ways.

`tcp_relay.py --delay-ms=N PORT` prints the port where it listens. Each byte takes that much longer, however many are
under way, and a new connection a round trip more, as its handshake would. It ends with its standard input.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import sys

PIECE = 1 << 16
UNDER_WAY_MAX = 64 << 20  # of one connection; beyond it nothing is read


async def _one_way(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float, first_s: float) -> None:
    """Pass bytes on, each when it is due, and the end too."""
    loop = asyncio.get_running_loop()
    waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(UNDER_WAY_MAX // PIECE)

    async def deliver() -> None:
        while True:
            due, data = await waiting.get()
            await asyncio.sleep(due - loop.time())
            if not data:
                if writer.can_write_eof():
                    writer.write_eof()
                return
            writer.write(data)
            await writer.drain()

    delivering = asyncio.create_task(deliver())
    late_s = first_s
    try:
        data = b"-"
        while data:
            data = await reader.read(PIECE)
            await waiting.put((loop.time() + delay_s + late_s, data))
            late_s = 0.0
        await delivering
    except ConnectionError:
        pass
    finally:
        delivering.cancel()


async def _serve(port: int, delay_s: float) -> None:
    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
            for each in (writer, far_writer):
                each.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            there = _one_way(reader, far_writer, delay_s, 2 * delay_s)
            back = _one_way(far_reader, writer, delay_s, 0.0)
            await asyncio.gather(there, back)
            far_writer.close()
        except OSError:
            pass  # nobody listens there: this connection ends too
        finally:
            writer.close()

    server = await asyncio.start_server(pass_on, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.read)
    server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="Pass TCP connections on, later")
    parser.add_argument("--delay-ms", type=float, default=0.0)
    parser.add_argument("port", type=int)
    options = parser.parse_args()
    asyncio.run(_serve(options.port, options.delay_ms / 1000))


if __name__ == "__main__":
    main()
