"""A client of QUIC that sends CRYPTO frames of one byte, with gaps between them, after its handshake. Needs aioquic."""

import select
import socket
import ssl
import sys
import time

from aioquic import tls
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.packet import QuicFrameType, QuicPacketType
from aioquic.quic.packet_builder import QuicPacketBuilder

address = ("127.0.0.1", int(sys.argv[1]))
configuration = QuicConfiguration(
    alpn_protocols=["voxwire-lanes/1"], verify_mode=ssl.CERT_NONE, server_name="game.example"
)
quic = QuicConnection(configuration=configuration)
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.connect(address)


def run(seconds, until=lambda: False):
    end = time.time() + seconds
    while time.time() < end and not until():
        for datagram, _ in quic.datagrams_to_send(now=time.time()):
            udp.send(datagram)
        if select.select([udp], [], [], 0.01)[0]:
            quic.receive_datagram(udp.recv(65536), address, now=time.time())
        timer = quic.get_timer()
        if timer is not None and timer < time.time():
            quic.handle_timer(now=time.time())


def gap(offset):
    builder = QuicPacketBuilder(
        host_cid=quic.host_cid,
        is_client=True,
        max_datagram_size=1200,
        packet_number=quic._packet_number,
        peer_cid=quic._peer_cid.cid,
        version=quic._version,
    )
    builder.start_packet(QuicPacketType.ONE_RTT, quic._cryptos[tls.Epoch.ONE_RTT])
    frame = builder.start_frame(QuicFrameType.CRYPTO, capacity=16)
    frame.push_uint_var(offset)
    frame.push_uint_var(1)
    frame.push_bytes(b"x")
    datagrams, _ = builder.flush()
    quic._packet_number = builder.packet_number
    udp.send(datagrams[0])


quic.connect(address, now=time.time())
run(8, lambda: quic._handshake_confirmed)
quic.send_stream_data(quic.get_next_available_stream_id(), b"VOXL\x01\x00\x00\x00")
run(0.5)
for n in range(1000):
    gap(1000 + 2 * n)
    if n % 50 == 0:
        run(0.01)
run(20)
