using System;
using System.Text;

namespace Voxwire.Samples
{
    /// <summary>Writes packets of at most 1024 bytes, into the same memory each time.</summary>
    public sealed class PacketWriter
    {
        /// <summary>Longest packet.</summary>
        public const int MaxPacket = 1024;

        private readonly byte[] bytes = new byte[MaxPacket];
        private int count;

        /// <summary>Writes a packet. The bytes are valid until the next call.</summary>
        /// <exception cref="InvalidOperationException">The packet is too long.</exception>
        public ArraySegment<byte> Write(Packet packet)
        {
            count = 0;
            U16(0x8bc7);
            U8((byte)packet.Type);
            if (packet.Type != PacketType.HandshakeRequest)
            {
                U32(packet.Session);
            }
            WriteBody(packet);
            return new ArraySegment<byte>(bytes, 0, count);
        }

        private void WriteBody(Packet packet)
        {
            switch (packet.Type)
            {
                case PacketType.ClientState:
                    String(packet.Name);
                    U16(packet.Client);
                    Codec(packet.Codec);
                    WriteRooms(packet);
                    break;
                case PacketType.VoiceData:
                    U16(packet.Client);
                    U8(packet.Options);
                    U16(packet.Sequence);
                    U16(packet.Channels.Count);
                    foreach (var channel in packet.Channels)
                    {
                        U16(channel.Bitfield);
                        U16(channel.Recipient);
                    }
                    Bytes(packet.Frame);
                    break;
                case PacketType.TextData:
                    U8(packet.IsToPlayer ? 1 : 0);
                    U16(packet.Client);
                    U16(packet.Target);
                    String(packet.Text);
                    break;
                case PacketType.HandshakeRequest:
                    Codec(packet.Codec);
                    String(packet.Name);
                    break;
                case PacketType.HandshakeResponse:
                    WriteResponse(packet);
                    break;
                case PacketType.ServerRelayReliable:
                case PacketType.ServerRelayUnreliable:
                    U8(packet.Destinations.Count);
                    foreach (var client in packet.Destinations)
                    {
                        U16(client);
                    }
                    Bytes(packet.Payload);
                    break;
                case PacketType.DeltaClientState:
                    U8(packet.Joined ? 1 : 0);
                    U16(packet.Client);
                    String(packet.Room);
                    break;
                case PacketType.RemoveClient:
                case PacketType.HandshakeP2P:
                    U16(packet.Client);
                    break;
            }
        }

        private void WriteResponse(Packet packet)
        {
            U16(packet.Client);
            U16(packet.Clients.Count);
            foreach (var client in packet.Clients)
            {
                String(client.Name);
                U16(client.Client);
                Codec(client.Codec);
            }
            WriteRooms(packet);
            U16(packet.RoomListeners.Count);
            foreach (var room in packet.RoomListeners)
            {
                U16(room.Room);
                U8(room.Listeners.Count);
                foreach (var client in room.Listeners)
                {
                    U16(client);
                }
            }
        }

        private void WriteRooms(Packet packet)
        {
            U16(packet.Rooms.Count);
            foreach (var room in packet.Rooms)
            {
                String(room);
            }
        }

        private void Codec(CodecSettings codec)
        {
            U8(codec.Codec);
            U32(codec.FrameSize);
            U32(codec.SampleRate);
        }

        private void String(string text)
        {
            if (text == null)
            {
                U16(0);
                return;
            }
            var length = Encoding.UTF8.GetByteCount(text);
            U16(length + 1);
            Reserve(length);
            Encoding.UTF8.GetBytes(text, 0, text.Length, bytes, count - length);
        }

        private void Bytes(ArraySegment<byte> from)
        {
            U16(from.Count);
            Reserve(from.Count);
            if (from.Count > 0)
            {
                Buffer.BlockCopy(from.Array, from.Offset, bytes, count - from.Count, from.Count);
            }
        }

        private void U8(int value)
        {
            Reserve(1);
            bytes[count - 1] = (byte)value;
        }

        private void U16(int value)
        {
            Reserve(2);
            bytes[count - 2] = (byte)(value >> 8);
            bytes[count - 1] = (byte)value;
        }

        private void U32(uint value)
        {
            U16((int)(value >> 16));
            U16((int)(value & 0xffff));
        }

        private void Reserve(int length)
        {
            if (length > bytes.Length - count)
            {
                throw new InvalidOperationException("a packet has at most " + MaxPacket + " bytes");
            }
            count += length;
        }
    }
}
