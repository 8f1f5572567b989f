"""Clients that cost a server as much as they can, for little: they connect and say
nothing, or send headers or a body byte by byte. Those that it closes come back at once.

    python tests/slow_clients.py PORT SECONDS

At the end it prints, as JSON, how many were open at once, how often each kind was
opened, and what the server answered. It speaks to 127.0.0.1 only.
"""

import asyncio
import json
import resource
import sys
import time
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


async def hold(port, kind, until, told):
    "Be one slow client until the end, on one connection after the other."
    _, at_once, dripped = SLOW[kind]
    while time.monotonic() < until:
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
            while answer is None and time.monotonic() < until:
                wait = asyncio.wait_for(reader.read(100), 1 if dripped else 5)
                try:
                    answer = await wait
                except TimeoutError:
                    writer.write(dripped)
            if answer:
                told[f"{kind}: {answer.split(b' ')[1].decode()}"] += 1
        except OSError:
            pass  # closed by the server as we wrote
        finally:
            told["open"] -= 1
            writer.close()


async def attack(port, seconds):
    "All of them at once; what came of it."
    until, told = time.monotonic() + seconds, Counter()
    clients = [kind for kind, (n, *_) in SLOW.items() for _ in range(n)]
    await asyncio.gather(*(hold(port, kind, until, told) for kind in clients))
    return told


if __name__ == "__main__":
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    found = asyncio.run(attack(int(sys.argv[1]), float(sys.argv[2])))
    print(json.dumps(found, sort_keys=True))
