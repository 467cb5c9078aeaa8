#!/usr/bin/env python3
"""How fast `voxwire-inspect capture` reads a capture, beside `tshark` with the dissectors of examples/wireshark.

    cargo build --release --bin voxwire-inspect
    python3 benches/capture_speed.py [MEGABYTES]

The capture (100 MB unless told) repeats the conversations of examples/inspect/tests/captures, each time from another client address. Both
programs read all of it, dissect every message and print a summary alone, in turn. The figures are of processor time, so that other programs on
the machine count for little.
"""
import os
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTOCOLS = ["voicelink", "opcode", "msgpack", "syfala", "dissonance"]
SERVER_PORTS = {4240, 4241, 4242, 4244, 6911}
ROUNDS = 3


def frames(path):
    """The Ethernet frames of a file of pcapng in little-endian."""
    data, at = path.read_bytes(), 0
    while at < len(data):
        kind, length = struct.unpack_from("<II", data, at)
        if kind == 6:
            (captured,) = struct.unpack_from("<I", data, at + 20)
            yield bytearray(data[at + 28 : at + 28 + captured])
        at += length


def client_place(frame):
    """Where in a frame of IPv4 the client's address is: the end that has not a server's port."""
    ports = struct.unpack_from(">HH", frame, 14 + 20)
    return 14 + (16 if ports[0] in SERVER_PORTS else 12)


def write_capture(path, size):
    once = [frame for name in PROTOCOLS for frame in frames(ROOT / f"examples/inspect/tests/captures/{name}.pcapng")]
    once = [(client_place(frame), frame) for frame in once if frame[12:14] == b"\x08\x00"]
    written, packets, turn = 24, 0, 0
    with open(path, "wb") as out:
        out.write(struct.pack("<IHHIIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        while written < size:
            turn += 1
            client = struct.pack(">I", (10 << 24) + turn)
            for number, (place, frame) in enumerate(once):
                frame[place : place + 4] = client
                micros = number * 20_000
                seconds = 1_767_225_600 + turn + micros // 1_000_000
                out.write(struct.pack("<IIII", seconds, micros % 1_000_000, len(frame), len(frame)) + frame)
                written += 16 + len(frame)
                packets += 1
    return written, packets


def run(command, environment):
    """Processor time, and what was printed."""
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        out.seek(0)
        text = out.read().decode()
    if status != 0:
        sys.exit(f"{command[0]} ended with {status}: {text[-500:]}")
    return usage.ru_utime + usage.ru_stime, text


def seen(text):
    """What a program has found: the total of the inspector, or tshark's packets of ours."""
    lines = text.splitlines()
    total = next((at for at, line in enumerate(lines) if line.startswith("total:")), None)
    if total is not None:
        return "\n".join(lines[total:])
    return "\n".join("  " + line.strip() for line in lines if " vox." in line)


def main():
    size = int(float(sys.argv[1]) * 1e6) if len(sys.argv) > 1 else 100_000_000
    inspect = ROOT / "target/release/voxwire-inspect"
    if not inspect.exists():
        sys.exit("target/release/voxwire-inspect is not there: cargo build --release --bin voxwire-inspect")
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/speed.pcap"
        written, packets = write_capture(path, size)
        scripts = [f"-Xlua_script:{ROOT}/examples/wireshark/voxwire_{name}.lua" for name in [*PROTOCOLS, "transport"]]
        commands = {
            "voxwire-inspect": [inspect, "capture", "--messages", "0", "--max-flows", "1000000", path],
            "tshark": ["tshark", *scripts, "-n", "-r", path, "-q", "-z", "io,phs"],
        }
        # Settings of the user change nothing.
        environment = {**os.environ, "HOME": folder, "XDG_CONFIG_HOME": folder}
        times = {name: [] for name in commands}
        for turn in range(ROUNDS):
            for name, command in commands.items():
                if name == "tshark" and turn > 0:
                    continue
                try:
                    seconds, text = run(command, environment)
                except FileNotFoundError:
                    print(f"skipped: {name} is not installed")
                    continue
                times[name].append(seconds)
                if turn == 0:
                    print(f"{name}:\n{seen(text)}")
    print(f"{written / 1e6:.0f} MB, {packets} packets")
    best = {name: min(seconds) for name, seconds in times.items() if seconds}
    for name, seconds in best.items():
        print(f"{name}: {seconds:.2f} s of processor time, {written / 1e6 / seconds:.1f} MB/s, {packets / seconds:.0f} packets/s")
    if len(best) == 2:
        print(f"{best['tshark'] / best['voxwire-inspect']:.0f} x")


if __name__ == "__main__":
    main()
