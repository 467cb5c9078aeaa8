"""opcode's server and client as the original programs behave, written from the wire's description alone.

    opcode_peer.py server                          serves on a free port of 127.0.0.1, and prints it
    opcode_peer.py client SERVER:PORT NAME wait    logs in, takes one call, sends back what it hears
    opcode_peer.py client SERVER:PORT NAME call USER
    opcode_peer.py client SERVER:PORT NAME hold    logs in, and answers nothing
"""
import socket
import struct
import sys
import threading

HELLO, LOGIN, SUCCESS, FAILED, ADD, CALL, VOICE, ERROR, REFUSED, DEL, ESTABLISHED = range(1, 12)


def frame(opcode, body=b""):
    return struct.pack("<QH", len(body) + 2, opcode) + body


def string(data):
    return struct.pack("<Q", len(data)) + data


def names(found):
    return struct.pack("<Q", len(found)) + b"".join(string(name) for name in found)


class Body:
    def __init__(self, data):
        self.data = data

    def take(self, n):
        if n > len(self.data):
            raise ValueError("over the end")
        part, self.data = self.data[:n], self.data[n:]
        return part

    def count(self):
        return struct.unpack("<Q", self.take(8))[0]

    def string(self):
        return self.take(self.count())

    def names(self):
        return [self.string() for _ in range(self.count())]

    def port(self):
        return struct.unpack("<H", self.take(2))[0]


def exactly(link, n):
    data = b""
    while len(data) < n:
        piece = link.recv(n - len(data))
        if not piece:
            raise EOFError("closed")
        data += piece
    return data


def receive(link):
    length, = struct.unpack("<Q", exactly(link, 8))
    data = exactly(link, length)
    return struct.unpack("<H", data[:2])[0], Body(data[2:])


class Server:
    """One lock, one thread for each connection; a client that sends what it should not is closed."""

    def __init__(self):
        self.lock = threading.Lock()
        self.names = {}

    def serve(self):
        listener = socket.create_server(("127.0.0.1", 0))
        print(listener.getsockname()[1], flush=True)
        while True:
            link, _ = listener.accept()
            threading.Thread(target=self.connection, args=(link,), daemon=True).start()

    def others(self, link, data):
        for other in self.names:
            if other is not link:
                other.sendall(data)

    def find(self, name):
        return next((link for link, known in self.names.items() if known == name), None)

    def connection(self, link):
        with self.lock:
            self.names[link] = b""
            link.sendall(frame(HELLO))
        try:
            while True:
                opcode, body = receive(link)
                with self.lock:
                    self.handle(link, opcode, body)
        except (EOFError, ValueError, OSError):
            pass
        with self.lock:
            name = self.names.pop(link)
            link.close()
            self.others(link, frame(DEL, names([name])))

    def handle(self, link, opcode, body):
        own = self.names[link]
        if opcode == LOGIN:
            name = body.string()
            if self.find(name):
                link.sendall(frame(FAILED, string(b"username already used")))
            elif not own:
                self.names[link] = name
                link.sendall(frame(SUCCESS))
                roster = [known for other, known in self.names.items() if other is not link]
                if roster:
                    link.sendall(frame(ADD, names(roster)))
                self.others(link, frame(ADD, names([name])))
        elif opcode == CALL:
            callee = self.find(body.string())
            body.string()
            if callee:
                host = link.getpeername()[0].encode()
                callee.sendall(frame(CALL, string(own) + string(host) + struct.pack("<H", body.port())))
            else:
                link.sendall(frame(ERROR, string(b"requested username not found")))
        elif opcode == REFUSED:
            caller = self.find(body.string())
            if caller:
                caller.sendall(frame(REFUSED, string(own)))
        else:
            raise ValueError("no handler")


def echo(direct):
    """Sends every packet back until the other side hangs up."""
    heard = 0
    try:
        while True:
            opcode, body = receive(direct)
            assert opcode == VOICE, opcode
            data = body.string()
            # What an original can play: Opus, 20 ms, one frame.
            assert data[0] >> 3 in (1, 5, 9, 13, 15, 19, 23, 27, 31) and data[0] & 3 == 0, data[:1]
            direct.sendall(frame(VOICE, string(data)))
            heard += 1
    except EOFError:
        print(f"over: {heard} packets", flush=True)


def client(server, name, action, *rest):
    host, port = server.rsplit(":", 1)
    link = socket.create_connection((host, int(port)), timeout=30)
    opcode, _ = receive(link)
    assert opcode == HELLO, opcode
    link.sendall(frame(LOGIN, string(name.encode())))
    opcode, body = receive(link)
    if opcode == FAILED:
        sys.exit(body.string().decode())
    assert opcode == SUCCESS, opcode
    if action == "call":
        listener = socket.create_server(("0.0.0.0", 0))
        port = struct.pack("<H", listener.getsockname()[1])
        link.sendall(frame(CALL, string(rest[0].encode()) + string(b"") + port))
        listener.settimeout(30)
        direct, _ = listener.accept()
        direct.sendall(frame(ESTABLISHED))
    else:
        print("waiting", flush=True)
        while True:
            opcode, body = receive(link)
            if opcode == CALL and action != "hold":
                caller, host, port = body.string(), body.string(), body.port()
                print(f"called by {caller.decode()}", flush=True)
                direct = socket.create_connection((host.decode(), port), timeout=30)
                opcode, _ = receive(direct)
                assert opcode == ESTABLISHED, opcode
                break
    direct.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    echo(direct)


if __name__ == "__main__":
    if sys.argv[1] == "server":
        Server().serve()
    else:
        client(*sys.argv[2:])
