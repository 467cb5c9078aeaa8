#!/usr/bin/env python3
"""Processor time of installed voice relays and of voxwire-server for each packet that they forward, over loopback, in turns.

    apt-get install mumble-server coturn python3-cryptography
    cargo build --release -p voxwire-server -p voxwire-load
    /usr/bin/python3 benches/peers/relays.py [--rounds 5] [--seconds 8] [--users 100]

- Mumble (murmurd): one room; five users speak 100 packets of 60 bytes a second each. Every packet is encrypted (OCB-AES128).
- coturn (turnserver): pairs of clients, each with an allocation; turnutils_uclient sends 60 bytes at the same total rate. A message
  between two of them passes the relay twice: it counts as two packets.
- voxwire-server, Dissonance over TCP + UDP: as Mumble. TCP + UDP is not encrypted.
- voxwire-server, Dissonance over QUIC, which encrypts each packet; the clients are voxwire-load's.

The other clients of Mumble and of voxwire are of this program. All read what they are sent. A server's time is what the system counted for its process while the talk lasted.
"""

import argparse
import contextlib
import json
import os
import pathlib
import re
import select
import signal
import socket
import ssl
import statistics
import struct
import subprocess
import tempfile
import threading
import time

PROGRAMS = pathlib.Path(__file__).resolve().parents[2] / "target/release"
TALKERS, RATE, BYTES = 5, 100, 60
TICK = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid):
    """What a process has used: user and system."""
    try:
        # In nanoseconds, for all its threads.
        tasks = pathlib.Path(f"/proc/{pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
    except (FileNotFoundError, ValueError):
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def stop(process):
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


# --- Mumble: https://mumble-protocol.readthedocs.io


def varint(n):
    if n < 0x80:
        return bytes([n])
    if n < 0x4000:
        return bytes([0x80 | n >> 8, n & 0xFF])
    if n < 0x200000:
        return bytes([0xC0 | n >> 16, n >> 8 & 0xFF, n & 0xFF])
    return b"\xf0" + struct.pack(">I", n)


def proto_varint(n):
    out = bytearray()
    while n >= 0x80:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def proto_fields(data):
    """The fields of a protobuf message: numbers and bytes."""
    at, fields = 0, {}

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        key = number()
        if key & 7 == 0:
            fields[key >> 3] = number()
        elif key & 7 == 2:
            length = number()
            fields[key >> 3] = data[at : at + length]
            at += length
        else:
            at += {1: 8, 5: 4}[key & 7]
    return fields


class Ocb2:
    """OCB2 with AES-128, as Mumble seals its datagrams: one byte of the nonce and three of the tag, then the text."""

    def __init__(self, key, nonce):
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

        self.aes = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
        self.nonce = bytearray(nonce)

    def block(self, number):
        return int.from_bytes(self.aes.update(number.to_bytes(16, "big")), "big")

    @staticmethod
    def double(number):
        return (number << 1 & (1 << 128) - 1) ^ (0x87 if number >> 127 else 0)

    def seal(self, text):
        for place in range(16):
            self.nonce[place] = self.nonce[place] + 1 & 0xFF
            if self.nonce[place]:
                break
        delta, checksum, out = self.block(int.from_bytes(self.nonce, "big")), 0, bytearray()
        while len(text) > 16:
            delta = self.double(delta)
            part, text = int.from_bytes(text[:16], "big"), text[16:]
            out += (delta ^ self.block(delta ^ part)).to_bytes(16, "big")
            checksum ^= part
        delta = self.double(delta)
        pad = self.block(delta ^ len(text) * 8).to_bytes(16, "big")
        padded = text + pad[len(text) :]
        checksum ^= int.from_bytes(padded, "big")
        out += bytes(a ^ b for a, b in zip(text, pad))
        delta ^= self.double(delta)
        return self.nonce[:1] + self.block(delta ^ checksum).to_bytes(16, "big")[:3] + out


class MumbleClient:
    """One user of a Mumble server."""

    def __init__(self, port, name):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.tls = context.wrap_socket(socket.create_connection(("127.0.0.1", port)))
        self.send(0, b"\x08" + proto_varint(1 << 16 | 3 << 8 | 4))
        self.send(2, b"\x0a" + proto_varint(len(name)) + name.encode() + b"\x28\x01")
        self.seal, self.unread = None, b""
        synchronized = False
        while not synchronized:
            kind, body = self.receive()
            if kind == 15:
                fields = proto_fields(body)
                self.seal = Ocb2(fields[1], fields[2])
            elif kind == 4:
                raise SystemExit(f"Mumble's server refuses {name}: {body}")
            synchronized = kind == 5
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.udp.connect(("127.0.0.1", port))
        # A ping by UDP: from now on the server sends voice that way.
        self.udp.send(self.seal.seal(b"\x20" + varint(1)))
        self.udp.settimeout(5)
        self.udp.recv(2048)
        self.udp.setblocking(False)
        self.sequence, self.heard = 0, 0

    def send(self, kind, body):
        self.tls.sendall(struct.pack(">HI", kind, len(body)) + body)

    def receive(self):
        while len(self.unread) < 6 or len(self.unread) < 6 + struct.unpack(">I", self.unread[2:6])[0]:
            self.unread += self.tls.recv(65536)
        kind, length = struct.unpack(">HI", self.unread[:6])
        body, self.unread = self.unread[6 : 6 + length], self.unread[6 + length :]
        return kind, body

    def speak(self):
        """One Opus packet of `BYTES`."""
        self.sequence += 1
        self.udp.send(self.seal.seal(b"\x80" + varint(self.sequence) + varint(BYTES) + os.urandom(BYTES)))


def hear(clients, until, is_voice):
    """Takes what comes in on all clients' UDP sockets, and counts what is voice."""
    poll, by_descriptor = select.epoll(), {client.udp.fileno(): client for client in clients}
    for descriptor in by_descriptor:
        poll.register(descriptor, select.EPOLLIN)
    while not until.is_set():
        for descriptor, _ in poll.poll(0.1):
            client = by_descriptor[descriptor]
            try:
                while True:
                    client.heard += is_voice(client.udp.recv(2048))
            except BlockingIOError:
                pass


def talk(server, seconds, speakers, pinging):
    """Each of `speakers` says `RATE` packets a second. Returns the server's time, and how many were said."""
    before, begun, spoken, pings = cpu_seconds(server.pid), time.monotonic(), 0, 0
    while (since := time.monotonic() - begun) < seconds:
        if since > pings:
            pings += 2
            for client in pinging:
                client.ping()
        for speak in speakers:
            speak()
        spoken += len(speakers)
        rest = begun + spoken / (len(speakers) * RATE) - time.monotonic()
        if rest > 0:
            time.sleep(rest)
    time.sleep(0.5)
    return cpu_seconds(server.pid) - before, spoken


def measure(server, seconds, clients, speakers, is_voice=lambda _: True, pinging=()):
    """The server's microseconds for each packet that clients heard, and which part of all packets that is."""
    over = threading.Event()
    # Another process would need the sockets: a thread is enough for 50 000 packets a second.
    ears = threading.Thread(target=hear, args=(clients, over, is_voice))
    ears.start()
    used, spoken = talk(server, seconds, speakers, pinging)
    over.set()
    ears.join()
    heard = sum(client.heard for client in clients)
    return used / heard * 1e6, heard / (spoken * (len(clients) - 1))


def mumble(users, seconds):
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        # Where root starts the server, it changes to a user of its own.
        os.chmod(folder, 0o777)
        settings = pathlib.Path(folder) / "server.ini"
        settings.write_text(
            f"database={folder}/server.sqlite\nport={port}\nhost=127.0.0.1\nusers={users + 1}\nbandwidth=558000\n"
            "autobanAttempts=0\nbonjour=false\nallowping=true\n"
        )
        server = subprocess.Popen(
            ["murmurd", "-fg", "-ini", str(settings)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            wait_for_tcp(port)
            clients = [MumbleClient(port, f"user{n}") for n in range(users)]
            return measure(server, seconds, clients, [client.speak for client in clients[:TALKERS]])
        finally:
            stop(server)


def wait_for_tcp(port):
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"nothing listens on port {port}")


# --- coturn


def coturn(_users, seconds):
    port = free_port()
    flags = ["-n", "--no-auth", "--no-cli", "--no-tls", "--no-dtls", "--allow-loopback-peers", "-m", "1", "--log-file=stdout"]
    addresses = ["--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1", f"--listening-port={port}"]
    server = subprocess.Popen(["turnserver", *flags, *addresses], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for_tcp(port)
        clients, interval = 100, 20
        messages = seconds * 1000 // interval
        load = ["turnutils_uclient", "-y", "-m", str(clients), "-l", str(BYTES), "-n", str(messages), "-z", str(interval)]
        before = cpu_seconds(server.pid)
        result = subprocess.run([*load, "-p", str(port), "127.0.0.1"], capture_output=True, text=True, timeout=seconds * 4 + 60)
        used = cpu_seconds(server.pid) - before
        report = result.stdout + result.stderr
        sent, received = re.findall(r"tot_send_msgs=(\d+), tot_recv_msgs=(\d+)", report)[-1]
        return used / (2 * int(received)) * 1e6, int(received) / int(sent)
    finally:
        stop(server)


# --- voxwire: transport/PROTOCOL.md and proto-dissonance/PROTOCOL.md


def text(string):
    return struct.pack(">H", len(string) + 1) + string.encode()


class VoxwireClient:
    """One player of a Dissonance server, in the room Lobby."""

    CODEC = struct.pack(">BII", 1, 960, 48000)

    def __init__(self, port, name):
        self.tcp = socket.create_connection(("127.0.0.1", port))
        self.tcp.sendall(b"VOXL\x01\x01\x00\x00")
        hello = self.exactly(32)
        self.tag = hello[8:15]
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.udp.connect(("127.0.0.1", int.from_bytes(hello[6:8], "big")))
        self.udp.settimeout(5)
        self.udp.send(b"\x01" + self.tag + hello[15:31])
        self.unit(2, b"\x01" + self.udp.recv(2048)[8:])
        self.unit(0, b"\x8b\xc7\x04" + self.CODEC + text(name))
        bound = False
        while True:
            kind, body = self.receive()
            bound |= (kind, body) == (2, b"\x03")
            if kind == 0 and body[2] == 5:
                self.session, self.number = body[3:7], int.from_bytes(body[7:9], "big")
                info = text(name) + struct.pack(">H", self.number) + self.CODEC
                self.unit(0, b"\x8b\xc7\x01" + self.session + info + struct.pack(">H", 1) + text("Lobby"))
            # The own ClientState comes back.
            if bound and kind == 0 and body[2] == 1 and text(name) in body:
                break
        self.tcp.setblocking(False)
        self.udp.setblocking(False)
        self.sequence, self.heard = 0, 0

    def exactly(self, length):
        data = b""
        while len(data) < length:
            part = self.tcp.recv(length - len(data))
            if not part:
                raise SystemExit("voxwire-server has closed the connection")
            data += part
        return data

    def unit(self, kind, body):
        self.tcp.sendall(struct.pack(">HB", len(body) + 1, kind) + body)

    def receive(self):
        unit = self.exactly(int.from_bytes(self.exactly(2), "big"))
        return unit[0], unit[1:]

    def ping(self):
        self.udp.send(b"\x04" + self.tag + os.urandom(8))

    def speak(self, listeners):
        head = struct.pack(">HBH", self.number, 0x80, self.sequence)
        voice = b"\x8b\xc7\x02" + self.session + head + struct.pack(">HHHH", 1, 0x8001, 22028, BYTES) + os.urandom(BYTES)
        relay = b"\x8b\xc7\x08" + self.session + listeners + struct.pack(">H", len(voice)) + voice
        self.udp.send(b"\x03" + self.tag + relay)
        self.sequence = self.sequence + 1 & 0xFFFF


@contextlib.contextmanager
def voxwire_server():
    """The server's process, its ports by transport, and its folder."""
    with tempfile.TemporaryDirectory() as folder:
        flags = ["--only", "dissonance", "--dissonance-port", "0", "--dissonance-quic-port", "0", "--data", folder]
        server = subprocess.Popen(
            [PROGRAMS / "voxwire-server", *flags, "--http", "127.0.0.1:0"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )
        try:
            ports = {}
            for line in server.stdout:
                if line.startswith("listening dissonance "):
                    transport, address = line.split()[2:4]
                    ports[transport] = int(address.rsplit(":", 1)[1])
                if line.strip() == "ready":
                    break
            yield server, ports, pathlib.Path(folder)
        finally:
            stop(server)


def voxwire(users, seconds):
    with voxwire_server() as (server, ports, _):
        clients = [VoxwireClient(ports["tcp"], f"user{n}") for n in range(users)]
        numbers = [client.number for client in clients]

        def others(client):
            ids = [number for number in numbers if number != client.number]
            return struct.pack(f">B{len(ids)}H", len(ids), *ids)

        addressed = {client: others(client) for client in clients[:TALKERS]}
        speakers = [lambda c=c: c.speak(addressed[c]) for c in clients[:TALKERS]]
        return measure(server, seconds, clients, speakers, lambda datagram: datagram[0] == 3, clients)


def voxwire_quic(users, seconds):
    with voxwire_server() as (server, ports, folder):
        server_flags = ["--server", f"127.0.0.1:{ports['quic']}", "--server-pid", str(server.pid)]
        trust = ["--quic", "--tls-ca", folder / "quic-cert.pem", "--tls-name", "localhost"]
        load = ["--users", users, "--talkers", TALKERS, "--rate", RATE, "--bytes", BYTES, "--seconds", seconds, "--json"]
        command = [PROGRAMS / "voxwire-load", "dissonance", *server_flags, *trust, *load]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=seconds + 120)
        figures = json.loads(done.stdout)
        return figures["server_process"]["cpu_us_per_copy"], figures["heard"] / figures["expected"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--users", type=int, default=100)
    flags = parser.parse_args()
    relays = {"Mumble": mumble, "coturn": coturn, "voxwire": voxwire, "voxwire, QUIC": voxwire_quic}
    times, shares = {name: [] for name in relays}, {name: [] for name in relays}
    for number in range(flags.rounds):
        for name, relay in relays.items():
            used, share = relay(flags.users, flags.seconds)
            times[name].append(used)
            shares[name].append(share)
            print(f"round {number + 1}: {name} {used:.2f} us a packet, {share:.2%} of the packets heard", flush=True)
    clear, quic = (statistics.median(times[name]) for name in ("voxwire", "voxwire, QUIC"))
    print("\n| relay | median, us a packet | lowest, highest | heard | voxwire / it | QUIC / it |\n| --- | --- | --- | --- | --- | --- |")
    for name, all_times in times.items():
        median = statistics.median(all_times)
        heard = min(shares[name])
        ratios = f"{clear / median:.2f} | {quic / median:.2f}"
        print(f"| {name} | {median:.2f} | {min(all_times):.2f}, {max(all_times):.2f} | {heard:.1%} | {ratios} |")


if __name__ == "__main__":
    main()
