"""Clients that cost a server as much as they can, for little: they connect and say
nothing, or send headers or a body byte by byte. Those that it closes come back at once.

    python tests/slow_clients.py PORT SECONDS

The seconds begin when all of them have been connected. At the end it prints, as JSON,
how many were open at once, how often each kind was opened, and what was answered. It
speaks to 127.0.0.1 only.
"""

import asyncio
import json
import resource
import sys
from collections import Counter

HEADERS = (
    b"POST /api/v1/recommendations HTTP/1.1\r\nHost: x\r\n"
    b"Content-Type: application/json\r\nContent-Length: 5000\r\n"
)
SLOW = {  # kind: how many, what they send at once, and then a byte of it a second
    "bodies": (100, HEADERS + b"\r\n", b" "),
    "headers": (100, HEADERS, b"x"),
    "idle": (2000, b"", b""),
}
ALL = sum(n for n, *_ in SLOW.values())


async def hold(port, kind, told):
    "Be one slow client for ever, on one connection after the other."
    _, at_once, dripped = SLOW[kind]
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError as error:
            told[f"{kind}: {type(error).__name__}"] += 1
            await asyncio.sleep(0.1)
            continue
        told[f"{kind} opened"] += 1
        told["open"] += 1
        told["most open"] = max(told["most open"], told["open"])
        try:
            writer.write(at_once)
            answer = None  # not yet
            while answer is None:
                try:
                    wait = 1 if dripped else None
                    answer = await asyncio.wait_for(reader.read(100), wait)
                except TimeoutError:
                    writer.write(dripped)
            if answer:
                told[f"{kind}: {answer.split(b' ')[1].decode()}"] += 1
        except OSError:
            told[f"{kind}: reset"] += 1  # closed as we wrote
        finally:
            told["open"] -= 1
            writer.close()


async def attack(port, seconds):
    "All of them at once; what came of it."
    told = Counter()
    clients = [
        asyncio.create_task(hold(port, kind, told))
        for kind, (n, *_) in SLOW.items()
        for _ in range(n)
    ]
    while any(told[f"{kind} opened"] < n for kind, (n, *_) in SLOW.items()):
        await asyncio.sleep(0.05)
    await asyncio.sleep(seconds)
    found = dict(told)
    for client in clients:
        client.cancel()
    await asyncio.gather(*clients, return_exceptions=True)
    return found


if __name__ == "__main__":
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 2 * ALL), hard))
    print(json.dumps(asyncio.run(attack(int(sys.argv[1]), float(sys.argv[2])))))
