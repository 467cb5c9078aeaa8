"""Real libzmq at the other end, for tests/zmtp.rs: needs nothing but Debian's python3-zmq.

`slow ADDR:PORT`: logs in at a server that takes its time, with heartbeats that do not wait for as long.
"""

import struct
import sys
import time

import zmq
from zmq.utils.monitor import recv_monitor_message


def pack(value):
    """MessagePack, by hand: what these tests need."""
    value = value.encode() if isinstance(value, str) else value
    head = bytes([0xA0 | len(value)]) if len(value) < 32 else b"\xdb" + struct.pack(">I", len(value))
    return head + value


def unpack(body):
    """Texts and small numbers, in a list."""
    at, objects = 0, []
    while at < len(body):
        first, at = body[at], at + 1
        if first < 0x80:
            objects.append(first)
        elif first == 0xCD:
            objects.append(struct.unpack_from(">H", body, at)[0])
            at += 2
        else:
            length = first & 31
            if first == 0xD9:
                length, at = body[at], at + 1
            objects.append(body[at : at + length].decode())
            at += length
    return objects


def request(*values):
    return b"".join(pack(value) for value in ("request",) + values)


def slow(address):
    context = zmq.Context()
    client = context.socket(zmq.DEALER)
    client.setsockopt(zmq.HEARTBEAT_IVL, 250)
    client.setsockopt(zmq.HEARTBEAT_TIMEOUT, 750)
    client.setsockopt(zmq.LINGER, 0)
    monitor = client.get_monitor_socket(zmq.EVENT_DISCONNECTED)
    client.connect(f"tcp://{address}")
    started = time.monotonic()
    client.send(request("login", "ann", "geheim"))
    # What is asked meanwhile is answered afterwards.
    client.send(request("whisper", "ann", "?", "ann", "x" * 200))
    replies = []
    while len(replies) < 2:
        assert client.poll(10_000), f"no answer after {time.monotonic() - started:.1f} s: {replies}"
        replies.append(unpack(client.recv())[:3])
    assert replies == [["response", "login", 0], ["response", "whisper", 517]], replies
    assert time.monotonic() - started > 2, "it took its time"
    assert not monitor.poll(0), recv_monitor_message(monitor)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
    print("all is well")
