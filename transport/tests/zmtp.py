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


def req(address):
    """A REQ socket, which takes nothing for an answer that has no empty frame in front."""
    context = zmq.Context()
    client = context.socket(zmq.REQ)
    client.setsockopt(zmq.LINGER, 0)
    client.connect(f"tcp://{address}")

    def ask(*values):
        client.send(request(*values))
        assert client.poll(5_000), f"no answer to {values}"
        return unpack(client.recv())

    assert ask("register", "ann", "geheim") == ["response", "register", 0]
    answer = ask("login", "ann", "geheim")
    assert answer[:4] == ["response", "login", 0, "ann"], answer
    token = answer[4]
    # A text to oneself would come before the answer, and end the connection: it is kept for a log-in that can receive it.
    assert ask("whisper", "ann", token, "ann", "hello") == ["response", "whisper", 0]
    assert ask("fly") == ["response", "fly", 1023]
    # A DEALER that does by hand what a REQ does has the same.
    dealer = context.socket(zmq.DEALER)
    dealer.setsockopt(zmq.LINGER, 0)
    dealer.connect(f"tcp://{address}")
    for parts, expected in [([b"", request("fly")], [b"", b"\xa8response\xa3fly\xcd\x03\xff"]),
                            ([request("fly")], [b"\xa8response\xa3fly\xcd\x03\xff"])]:
        dealer.send_multipart(parts)
        assert dealer.poll(5_000)
        assert dealer.recv_multipart() == expected


def refused(address):
    """Sockets that are none of this protocol."""
    context = zmq.Context()
    for kind, setup in [(zmq.SUB, lambda socket: socket.setsockopt(zmq.SUBSCRIBE, b"")),
                        (zmq.DEALER, lambda socket: (socket.setsockopt(zmq.PLAIN_USERNAME, b"ann"),
                                                     socket.setsockopt(zmq.PLAIN_PASSWORD, b"x")))]:
        client = context.socket(kind)
        client.setsockopt(zmq.LINGER, 0)
        setup(client)
        client.connect(f"tcp://{address}")
        if kind == zmq.DEALER:
            client.send(request("fly"))
        assert not client.poll(300)
        client.close()


def silent(address):
    """Says in its heartbeats that it is never silent for long, and is, once it is stopped."""
    context = zmq.Context()
    client = context.socket(zmq.DEALER)
    client.setsockopt(zmq.HEARTBEAT_IVL, 200)
    client.setsockopt(zmq.HEARTBEAT_TTL, 1000)
    client.connect(f"tcp://{address}")
    client.send(request("fly"))
    assert client.poll(5_000)
    time.sleep(1)
    print("up", flush=True)
    time.sleep(60)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
    print("all is well")
