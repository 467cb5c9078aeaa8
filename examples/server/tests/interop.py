"""Real libzmq at the other end, for tests/msgpack.rs: needs nothing but Debian's python3-zmq.

`dealer ADDR:PORT`: two clients of one server, a whole session.
`router`: a small server; prints its port, and the requests it gets.
"""

import struct
import sys

import zmq


def pack(value):
    """MessagePack, by hand: what this protocol needs."""
    if isinstance(value, str):
        value = value.encode()
        if len(value) < 32:
            return bytes([0xA0 | len(value)]) + value
        return b"\xd9" + bytes([len(value)]) + value
    if isinstance(value, int):
        if 0 <= value < 128:
            return bytes([value])
        if -32 <= value < 0:
            return struct.pack("b", value)
        return b"\xd1" + struct.pack(">h", value) if value < 0 else b"\xcd" + struct.pack(">H", value)
    return b"\xdc" + struct.pack(">H", len(value)) + b"".join(pack(item) for item in value)


def unpack(body):
    """The objects of a message, in a list."""
    at, objects = 0, []

    def one():
        nonlocal at
        first = body[at]
        at += 1

        def number(code):
            nonlocal at
            (value,) = struct.unpack_from(">" + code, body, at)
            at += struct.calcsize(code)
            return value

        def text(length):
            nonlocal at
            at += length
            return body[at - length : at].decode()

        if first < 0x80:
            return first
        if first >= 0xE0:
            return first - 256
        if first & 0xE0 == 0xA0:
            return text(first & 31)
        if first & 0xF0 == 0x90:
            return [one() for _ in range(first & 15)]
        return {
            0xCC: lambda: number("B"),
            0xCD: lambda: number("H"),
            0xD0: lambda: number("b"),
            0xD1: lambda: number("h"),
            0xD9: lambda: text(number("B")),
            0xDC: lambda: [one() for _ in range(number("H"))],
        }[first]()

    while at < len(body):
        objects.append(one())
    return objects


def message(*values):
    return b"".join(pack(value) for value in values)


def heartbeats(socket):
    socket.setsockopt(zmq.HEARTBEAT_IVL, 100)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 2000)
    socket.setsockopt(zmq.HEARTBEAT_TTL, 2000)
    socket.setsockopt(zmq.RCVTIMEO, 10000)
    socket.setsockopt(zmq.LINGER, 0)


class Client:
    def __init__(self, context, address, kind=zmq.DEALER):
        self.socket = context.socket(kind)
        heartbeats(self.socket)
        self.socket.setsockopt(zmq.IDENTITY, b"an identity that is no authority")
        self.monitor = self.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        self.socket.connect("tcp://" + address)
        self.token = None

    def ask(self, *values):
        self.socket.send(message("request", *values))
        return self.hear()

    def hear(self):
        return unpack(self.socket.recv())

    def expect(self, values, *wanted):
        assert values == list(wanted), (values, wanted)


def dealer(address):
    context = zmq.Context()
    ann, bob = Client(context, address), Client(context, address)
    for client, name in [(ann, "ann"), (bob, "bob")]:
        client.expect(client.ask("register", name, "geheim"), "response", "register", 0)
        client.expect(client.ask("login", name, "falsch"), "response", "login", 515)
        reply = client.ask("login", name, "geheim")
        client.expect(reply[:4], "response", "login", 0, name)
        client.token = reply[4]
        assert len(client.token) == 36 and client.token[14] == "4", client.token
    ann.expect(ann.ask("add_contact", "ann", ann.token, "bob"), "response", "add_contact", 0)
    ann.expect(ann.ask("whisper", "ann", ann.token, "bob", "hello"), "response", "whisper", 0)
    bob.expect(bob.hear(), "update", "whisper", "ann", "hello")
    ann.expect(ann.ask("create_group", "ann", ann.token, "room"), "response", "create_group", 0)
    bob.expect(bob.ask("join_group", "bob", bob.token, "room"), "response", "join_group", 0)
    # One's own text comes before the answer.
    bob.expect(bob.ask("msg_group", "bob", bob.token, "room", "hi all"), "update", "msg_group", "room", "bob", "hi all")
    bob.expect(bob.hear(), "response", "msg_group", 0)
    ann.expect(ann.hear(), "update", "msg_group", "room", "bob", "hi all")
    for client, name in [(ann, "ann"), (bob, "bob")]:
        client.expect(client.ask("join_call", name, client.token, "room"), "response", "join_call", 0, "room")
    samples = [(n * 37) % 65536 - 32768 for n in range(41900)]
    for _ in range(10):
        ann.socket.send(message("update", "call_data", "ann", ann.token, "room", samples))
        bob.expect(bob.hear(), "update", "call_data", "ann", samples)
    voice = message("request", "voice_msg", "ann", ann.token, "bob", 1, 44100, samples)
    ann.socket.send(voice)
    ann.expect(ann.hear(), "response", "voice_msg", 0)
    bob.expect(bob.hear(), "update", "voice_msg", "ann", 1, 44100, samples)
    # Several frames are no message: answered, and what follows is heard.
    ann.socket.send_multipart([b"x", message("request", "logout", "ann")])
    ann.expect(ann.hear(), "response", "", 1023)
    ann.expect(ann.ask("leave_call", "ann", ann.token), "response", "leave_call", 0)
    ann.expect(ann.ask("fly", "ann"), "response", "fly", 1023)
    # A REQ socket puts an empty frame in front of each request, and takes no response without one.
    req = Client(context, address, zmq.REQ)
    req.expect(req.ask("register", "eve", "geheim"), "response", "register", 0)
    # It can receive nothing else: what is sent to its user is kept until a log-in with a socket that can.
    ann.expect(ann.ask("whisper", "ann", ann.token, "eve", "before"), "response", "whisper", 0)
    reply = req.ask("login", "eve", "geheim")
    req.expect(reply[:4], "response", "login", 0, "eve")
    ann.expect(ann.ask("whisper", "ann", ann.token, "eve", "meanwhile"), "response", "whisper", 0)
    req.expect(req.ask("whisper", "eve", reply[4], "ann", "from eve"), "response", "whisper", 0)
    ann.expect(ann.hear(), "update", "whisper", "eve", "from eve")
    assert req.monitor.poll(0) == 0, "never disconnected"
    eve = Client(context, address)
    eve.expect(eve.ask("login", "eve", "geheim"), "update", "whisper", "ann", "before")
    eve.expect(eve.hear(), "update", "whisper", "ann", "meanwhile")
    eve.expect(eve.hear()[:4], "response", "login", 0, "eve")
    # The same from a socket that shows it.
    ann.socket.send_multipart([b"", message("request", "fly", "ann")])
    parts = ann.socket.recv_multipart()
    assert len(parts) == 2 and parts[0] == b"", parts
    ann.expect(unpack(parts[1]), "response", "fly", 1023)
    # Long enough for many heartbeats.
    bob.socket.poll(1500)
    bob.expect(bob.ask("logout", "bob"), "response", "logout", 0)
    ann.expect(ann.ask("logout", "ann"), "response", "logout", 0)
    for client in (ann, bob):
        assert client.monitor.poll(0) == 0, "never disconnected"
    print("all is well")


def router():
    context = zmq.Context()
    socket = context.socket(zmq.ROUTER)
    heartbeats(socket)
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    print(port, flush=True)
    while True:
        parts = socket.recv_multipart()
        assert len(parts) == 2, parts
        identity, body = parts[0], unpack(parts[1])
        print(*[len(value) if isinstance(value, list) else value for value in body], flush=True)
        if body[:2] == ["update", "call_data"]:
            socket.send_multipart([identity, message("update", "call_data", "echo", body[5])])
        elif body[1] == "login":
            socket.send_multipart([identity, message("response", "login", 0, body[2], "t" * 36)])
        elif body[1] == "join_call":
            socket.send_multipart([identity, message("response", "join_call", 0, body[4])])
        elif body[1] != "leave_call":
            socket.send_multipart([identity, message("response", body[1], 0)])
        if body[1] == "logout":
            socket.poll(200)
            return


if __name__ == "__main__":
    dealer(sys.argv[2]) if sys.argv[1] == "dealer" else router()
