"""A voicelink client written from the protocol's document alone, in either byte order. It never registers.

    voicelink_peer.py SERVER:PORT be|le call USER FILE [BIND]    calls, sends FILE in 20 ms packets, drops the call
    voicelink_peer.py SERVER:PORT be|le wait FILE [BIND]         waits to be called, accepts, keeps the data in FILE
"""
import socket
import struct
import sys
import time

HANDSHAKE, NOT_FOUND, PARAMETERS, CLOSE, ACCEPT, DROP, DATA = range(7)


def main():
    server, order, action = sys.argv[1:4]
    host, port = server.rsplit(":", 1)
    rest = sys.argv[4:]
    end = ">" if order == "be" else "<"
    bind = rest[-1] if rest[-1][:1].isdigit() else "127.0.0.1"
    link = socket.create_connection((host, int(port)), timeout=20, source_address=(bind, 0))

    def send(kind, body=b""):
        link.sendall(struct.pack(end + "IH", len(body) + 6, kind) + body)

    def exactly(n):
        data = b""
        while len(data) < n:
            piece = link.recv(n - len(data))
            if not piece:
                raise EOFError("the server closed the connection")
            data += piece
        return data

    def receive():
        length, kind = struct.unpack(end + "IH", exactly(6))
        return kind, exactly(length - 6)

    if action == "call":
        user = rest[0].encode()
        audio = struct.pack(end + "IHBI", 8000, 1, 2, 160)
        send(HANDSHAKE, audio + struct.pack(end + "H", len(user)) + user)
        kind, body = receive()
        if kind != ACCEPT:
            sys.exit(f"not accepted: type {kind} {body!r}")
        data = open(rest[1], "rb").read()
        for at in range(0, len(data), 320):
            send(DATA, data[at:at + 320])
            time.sleep(0.005)
        send(DROP)
    else:
        print("waiting", flush=True)
        kind, body = receive()
        if kind != HANDSHAKE:
            sys.exit(f"expected a handshake, got type {kind}")
        rate, channels, form, chunk, length = struct.unpack(end + "IHBIH", body[:13])
        print(f"called by {body[13:13 + length].decode()}: {rate} {channels} {form} {chunk}", flush=True)
        send(ACCEPT)
        data = b""
        while True:
            kind, body = receive()
            if kind == DATA:
                data += body
            elif kind == DROP:
                break
        open(rest[0], "wb").write(data)
    # The document: after types 3 and 5 the connection is closed.
    link.close()


main()
