#!/usr/bin/env python3
"""A codec for the Dissonance voice chat protocol, driven line by line.

It was written from a description of the wire format alone, as an independent
check: it shares no code with any other implementation. Python 3, standard
library only.

Each line read on stdin is answered by exactly one line on stdout:

    decode HEX          the packet as compact JSON
    encode JSON         the packet as lower-case hex
    random SEED         HEX JSON of a random valid packet made from the seed
    room_id JSONSTRING  the room id of a name, in decimal

A question without an answer is answered with `error REASON`.
"""

import io
import json
import random
import re
import sys
from dataclasses import dataclass

MAGIC = b"\x8b\xc7"
MAX_PACKET = 1024
MAX_STRING = 65534  # one more byte would wrap the biased length to 0, which means null


def check(condition, reason):
    if not condition:
        raise ValueError(reason)


def parse_hex(text):
    check(type(text) is str and re.fullmatch("(?:[0-9a-fA-F]{2})*", text), "not a hex string")
    return bytes.fromhex(text)


def take(stream, count):
    data = stream.read(count)
    check(len(data) == count, f"too short: {count} bytes wanted, {len(data)} left")
    return data


# Field types. Each has read(stream) -> value and write(value) -> bytes.

@dataclass
class Unsigned:
    """A big-endian unsigned integer."""
    bits: int

    def read(self, stream):
        return int.from_bytes(take(stream, self.bits // 8), "big")

    def write(self, value):
        check(type(value) is int and 0 <= value < 1 << self.bits, f"not a {self.bits}-bit integer")
        return value.to_bytes(self.bits // 8, "big")


U8, U16, U32 = Unsigned(8), Unsigned(16), Unsigned(32)


class Choice:
    """A byte selecting one of two values."""

    def __init__(self, *values, lenient=False):
        self.values, self.lenient = values, lenient

    def read(self, stream):
        number = U8.read(stream)
        check(number < 2 or self.lenient, f"unknown choice {number}")
        return self.values[min(number, 1)]

    def write(self, value):
        check(type(value) in (str, bool) and value in self.values, f"not one of {self.values}")
        return U8.write(self.values.index(value))


class String:
    """UTF-8 behind a u16 holding the byte length plus one; 0 stands for null."""

    def read(self, stream):
        biased = U16.read(stream)
        return take(stream, biased - 1).decode("utf-8") if biased else None

    def write(self, value):
        if value is None:
            return U16.write(0)
        check(type(value) is str, "not a string or null")
        data = re.sub("[\ud800-\udfff]", "\ufffd", value).encode("utf-8")  # lone surrogates
        check(len(data) <= MAX_STRING, "string too long")
        return U16.write(len(data) + 1) + data


class Bytes:
    """Bytes behind a plain u16 length; a hex string in JSON."""

    def read(self, stream):
        return take(stream, U16.read(stream)).hex()

    def write(self, value):
        data = parse_hex(value)
        return U16.write(len(data)) + data


@dataclass
class List:
    count: Unsigned
    item: object

    def read(self, stream):
        return [self.item.read(stream) for _ in range(self.count.read(stream))]

    def write(self, value):
        check(type(value) is list, "not a list")
        return self.count.write(len(value)) + b"".join(map(self.item.write, value))


class Record:
    """Named fields in wire order."""

    def __init__(self, **fields):
        self.fields = fields

    def read(self, stream):
        return {name: kind.read(stream) for name, kind in self.fields.items()}

    def write(self, value):
        check(type(value) is dict and value.keys() == self.fields.keys(),
              f"fields other than {list(self.fields)}")
        return b"".join(kind.write(value[name]) for name, kind in self.fields.items())


CODEC = dict(codec=U8, frame_size=U32, sample_rate=U32)
CLIENT = dict(name=String(), client=U16, **CODEC)
ROOMS = List(U16, String())
RELAY = Record(session=U32, destinations=List(U8, U16), payload=Bytes())

CHANNELS = List(U16, Record(bitfield=U16, recipient=U16))
LISTENERS = List(U8, U16)

MESSAGES = {
    1: ("ClientState", Record(session=U32, **CLIENT, rooms=ROOMS)),
    2: ("VoiceData", Record(session=U32, sender=U16, options=U8, sequence=U16, channels=CHANNELS,
                            frame=Bytes())),
    3: ("TextData", Record(session=U32, recipient=Choice("room", "player"), sender=U16,
                           target=U16, text=String())),
    4: ("HandshakeRequest", Record(**CODEC, name=String())),
    5: ("HandshakeResponse", Record(session=U32, client=U16, clients=List(U16, Record(**CLIENT)),
        rooms=ROOMS, channels=List(U16, Record(room=U16, listeners=LISTENERS)))),
    6: ("ErrorWrongSession", Record(session=U32)),
    7: ("ServerRelayReliable", RELAY),
    8: ("ServerRelayUnreliable", RELAY),
    9: ("DeltaClientState", Record(session=U32, joined=Choice(False, True, lenient=True),
                                   client=U16, room=String())),
    10: ("RemoveClient", Record(session=U32, client=U16)),
    11: ("HandshakeP2P", Record(session=U32, client=U16)),
}
TYPES = {name: number for number, (name, _) in MESSAGES.items()}


def decode(data):
    stream = io.BytesIO(data)
    check(take(stream, 2) == MAGIC, "wrong magic")
    number = U8.read(stream)
    check(number in MESSAGES, f"unknown message type {number}")
    name, body = MESSAGES[number]
    return {"message": name, **body.read(stream)}


def encode(packet):
    fields = dict(packet) if type(packet) is dict else {}
    name = fields.pop("message", None)
    check(type(name) is str and name in TYPES, "unknown message")
    return MAGIC + U8.write(TYPES[name]) + MESSAGES[TYPES[name]][1].write(fields)


def room_id(name):
    check(type(name) is str, "a room name is a string")
    value = 2166136261
    for byte in name.encode("utf-16-be", "surrogatepass"):
        value = (value ^ byte) * 16777619 & 0xFFFFFFFF
    return ((value >> 16) * 5791 + (value & 0xFFFF) * 7639) & 0xFFFF


class Generator:
    """Random valid packets, leaning towards the edges of every field."""

    WORDS = ("", "a", "Alice", "Global", "TeamBlue", "tab\t\"quote\"\\\n", "\0", "Zoë", "Привет",
             "日本語", "שלום", "e\u0301", "\ufeffmark", "\u2028", "\uffff", "😀", "𝔘𝔫𝔦", "👩‍🚀 crew",
             "\U0010ffff", "room" * 20, "é𐍈" * 30, "é😀" * 168)
    LETTERS = "azAZ09 -éßж中\u00a0\u20ac😀𝄞"
    NULLABLE = {"HandshakeRequest": "name", "TextData": "text"}
    RELAYED = [name for name in TYPES if name != "HandshakeRequest" and "Relay" not in name]

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.session = self.value("session", U32)

    def packet(self, names=tuple(TYPES)):
        name = self.rng.choice(names)
        while True:
            packet = {"message": name, **self.value(name, MESSAGES[TYPES[name]][1])}
            if "session" in packet:
                packet["session"] = self.session  # the same inside and outside of a relay
            if name in self.NULLABLE and self.rng.random() < 0.2:
                packet[self.NULLABLE[name]] = None
            if name == "HandshakeResponse":  # both lists describe the same rooms
                rooms = {room_id(room): room for room in packet["rooms"]}
                packet["rooms"] = list(rooms.values())
                packet["channels"] = [
                    {"room": room, "listeners": sorted(set(self.value("listeners", LISTENERS)))}
                    for room in self.rng.sample(list(rooms), len(rooms))]
            if len(encode(packet)) <= MAX_PACKET:
                return packet

    def value(self, name, kind):
        rng = self.rng
        if name == "codec":
            return rng.randrange(2)
        if name == "options":  # two bits, or seven with the top bit set
            return rng.choice((rng.randrange(4), 128, 255, rng.randrange(128, 256)))
        if name == "payload":
            return encode(self.packet(self.RELAYED)).hex()
        if isinstance(kind, Record):
            return {field: self.value(field, inner) for field, inner in kind.fields.items()}
        if isinstance(kind, List):
            large = 255 if kind.count is U8 else 40
            count = rng.choice((0, 1, 2, rng.randint(0, 8), rng.randint(0, large), large))
            return [self.value("", kind.item) for _ in range(count)]
        if isinstance(kind, Choice):
            return rng.choice(kind.values)
        if isinstance(kind, Bytes):
            return rng.randbytes(rng.choice((0, 1, rng.randint(0, 300), MAX_PACKET - 16))).hex()
        if isinstance(kind, String):
            letters = "".join(rng.choices(self.LETTERS, k=rng.randint(1, 40)))
            return rng.choice((*self.WORDS, *(letters,) * 8))
        top, bit = (1 << kind.bits) - 1, 1 << rng.randrange(kind.bits)
        return rng.choice((0, top, top >> 1, bit, *(rng.randint(0, top),) * 4))


def answer(line):
    dumps = json.JSONEncoder(separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode
    command, _, argument = line.strip().partition(" ")
    if command == "decode":
        return dumps(decode(parse_hex(argument)))
    if command == "encode":
        return encode(json.loads(argument)).hex()
    if command == "random":
        packet = Generator(int(argument)).packet()
        return f"{encode(packet).hex()} {dumps(packet)}"
    if command == "room_id":
        return str(room_id(json.loads(argument)))
    raise ValueError(f"unknown command {command!r:.40}")


def main():
    for line in sys.stdin.buffer:
        try:
            reply = answer(line.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            reply = f"error {error}"
        sys.stdout.buffer.write(reply.encode("utf-8", "backslashreplace") + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
