"""Holds a thousand connections against examples/server with Python's asyncio, stops it in the middle, and checks the promises.

Usage: server_test.py SERVER COUNT_IO_LIBRARY

The clients are asyncio's, so that both ends are not ours. COUNT_IO_LIBRARY is preloaded into the server and writes, at its end, how many bytes it has
received and sent: a byte that Read returned and nobody answered is seen there.
"""

import asyncio
import os
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time

CONNECTIONS = 1000
DRAIN_SECONDS = 5.0


class Failure(Exception):
    pass


def check(condition, message):
    if not condition:
        raise Failure(message)


class Server:
    def __init__(self, binary, library=None, descriptors=None):
        self.counts = tempfile.NamedTemporaryFile(prefix="count_io", suffix=".txt")
        self.stderr = tempfile.TemporaryFile()
        environment = dict(os.environ, COUNT_IO_FILE=self.counts.name)
        if library:
            environment["LD_PRELOAD"] = library
        limit = f"ulimit -n {descriptors}; " if descriptors else ""
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", limit + 'exec "$0" --port=0', binary],
            stdout=subprocess.PIPE, stderr=self.stderr, env=environment,
        )
        line = self.process.stdout.readline().decode()
        match = re.fullmatch(r"listening on ([0-9.]+):([0-9]+)\n", line)
        check(match, f"expected 'listening on ADDRESS:PORT', got {line!r}")
        self.port = int(match.group(2))

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def resident_kib(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            return int(re.search(r"VmRSS:\s+(\d+) kB", status.read()).group(1))

    def errors(self):
        # Not by seeking: the server writes at the same offset.
        return os.pread(self.stderr.fileno(), 1 << 20, 0).decode()

    def io_counts(self):
        received, sent = open(self.counts.name).read().split()
        return int(received), int(sent)


async def connect(port):
    return await asyncio.open_connection("127.0.0.1", port)


async def exchange(reader, writer, data):
    writer.write(data)
    answer = await reader.readexactly(len(data))
    check(answer == data, "the echo differs from what was sent")


async def cycle(server, rounds):
    """Opens all connections, exchanges on each, closes them; returns when the server has let go of them."""
    before = server.descriptors()

    async def one():
        reader, writer = await connect(server.port)
        for _ in range(rounds):
            await exchange(reader, writer, random.randbytes(random.randint(1, 2000)))
        writer.write_eof()
        check(await reader.read() == b"", "data after the last answer")
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(one() for _ in range(CONNECTIONS)))
    for _ in range(500):
        if server.descriptors() == before:
            return
        await asyncio.sleep(0.01)
    raise Failure(f"{server.descriptors() - before} descriptors leaked after {CONNECTIONS} connections")


async def refused_while_draining(server):
    """True once a new connection is refused, which has to happen while the server still drains."""
    for _ in range(400):
        check(server.process.poll() is None, "the server ended before a new connection was refused")
        try:
            _, writer = await connect(server.port)
            writer.close()
        except ConnectionRefusedError:
            return
        except ConnectionResetError:
            pass  # was in the backlog when the listener closed
        await asyncio.sleep(0.005)
    raise Failure("new connections are still accepted two seconds after SIGTERM")


async def stop_in_the_middle(server):
    """SIGTERM while some connections talk and some are idle. Returns how many bytes the clients sent and received."""
    totals = {"sent": 0, "received": 0}
    stopped = asyncio.Event()
    talking = asyncio.Semaphore(0)
    held = asyncio.Event()

    async def talker():
        reader, writer = await connect(server.port)

        async def send():
            try:
                while not closed:  # on and on, also after SIGTERM
                    data = random.randbytes(random.randint(1, 4000))
                    writer.write(data)
                    totals["sent"] += len(data)
                    sent.append(data)
                    await writer.drain()
                    await asyncio.sleep(random.random() * 0.05)
            except ConnectionError:
                pass  # the server has left; what it had read has to have been answered all the same

        sent = []
        closed = []
        sender = asyncio.create_task(send())
        received = bytearray()
        while True:
            data = await reader.read(65536)  # a reset would raise here, and fail the test
            if not data:
                break
            if not received:
                talking.release()  # from its first answer on; one that was never read from may be reset
            received += data
        totals["received"] += len(received)
        stopped_early = not stopped.is_set()
        closed.append(True)
        await sender
        check(not stopped_early, "the server closed a connection before it was told to stop")
        check(b"".join(sent).startswith(received), "an answer differs from what was sent")
        writer.close()

    async def idler():
        reader, writer = await connect(server.port)
        await exchange(reader, writer, b"hello")
        totals["sent"] += 5
        totals["received"] += 5
        talking.release()
        check(await reader.read() == b"", "data on an idle connection")
        writer.close()

    async def holder():
        # Sends a lot and reads nothing, so that the server has to wait with answers in its hands, and is
        # still draining while others try to connect.
        reader, writer = await connect(server.port)
        data = random.randbytes(16 << 20)
        writer.write(data)
        talking.release()
        await held.wait()
        received = bytearray()
        while chunk := await reader.read(1 << 20):
            received += chunk
        check(data.startswith(received), "an answer differs from what was sent")
        check(received, "the server answered nothing of what it had read")
        totals["sent"] += len(data)
        totals["received"] += len(received)
        writer.close()

    clients = [asyncio.create_task(holder())]
    clients += [asyncio.create_task(talker() if i % 2 else idler()) for i in range(CONNECTIONS - 1)]
    for _ in range(CONNECTIONS):
        await talking.acquire()
    await asyncio.sleep(0.3)  # let them talk
    start = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    stopped.set()
    try:
        await refused_while_draining(server)
    finally:
        held.set()
    await asyncio.gather(*clients)
    code = await asyncio.get_running_loop().run_in_executor(None, server.process.wait, 20)
    elapsed = time.monotonic() - start
    check(code == 0, f"exit code {code}, expected 0; stderr:\n{server.errors()}")
    check(elapsed < DRAIN_SECONDS, f"the drain took {elapsed:.2f} s")
    return totals, elapsed


async def out_of_descriptors(binary):
    """More clients than the server has descriptors for: those wait until others have left, and nobody is lost."""
    server = Server(binary, descriptors=64)
    full = asyncio.Event()

    async def client():
        reader, writer = await connect(server.port)
        await exchange(reader, writer, b"hello")
        await full.wait()
        writer.close()
        await writer.wait_closed()

    clients = [asyncio.create_task(client()) for _ in range(100)]
    try:
        for _ in range(1000):
            if "too many open files" in server.errors():
                break
            await asyncio.sleep(0.01)
        else:
            raise Failure("the server does not report that it has no descriptors left")
        full.set()
        await asyncio.wait_for(asyncio.gather(*clients), 20)
        server.process.send_signal(signal.SIGTERM)
        code = await asyncio.get_running_loop().run_in_executor(None, server.process.wait, 20)
    except BaseException:
        server.process.kill()
        sys.stderr.write(server.errors())
        raise
    check(code == 0, f"exit code {code} after the want of descriptors; stderr:\n{server.errors()}")
    check(server.errors().count("too many open files") == 1, f"reported more than once:\n{server.errors()}")


async def main(binary, library):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    await out_of_descriptors(binary)
    server = Server(binary, library)
    try:
        for _ in range(3):  # warms the server's memory up: each worker's share of it varies
            await cycle(server, 2)
        warm = server.resident_kib()
        for _ in range(5):
            await cycle(server, 2)
        grown = server.resident_kib() - warm
        check(grown < 4096, f"memory grew by {grown} KiB over {5 * CONNECTIONS} connections")
        totals, elapsed = await stop_in_the_middle(server)
    except BaseException:
        server.process.kill()
        sys.stderr.write(server.errors())
        raise
    report = re.search(
        r"quiesce: drained (\d+) tasks?, cut off (\d+), ran (\d+) finalizers?, in (\S+)\n", server.errors()
    )
    check(report, f"no drain report on stderr:\n{server.errors()}")
    check(int(report.group(1)) >= CONNECTIONS, f"fewer tasks drained than connections: {report.group(0)}")
    check(int(report.group(2)) == 0, f"tasks were cut off: {report.group(0)}")
    if library:
        received, sent = server.io_counts()
        check(received == sent, f"Read returned {received} bytes, {sent} were answered")
    print(f"{CONNECTIONS} connections, drained in {elapsed:.2f} s, {report.group(0).strip()}; "
          f"clients sent {totals['sent']} bytes and got {totals['received']} back; memory grew by {grown} KiB")


if __name__ == "__main__":
    try:
        asyncio.run(main(os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2]) if len(sys.argv) > 2 else None))
    except Failure as failure:
        sys.exit(f"FAILED: {failure}")
