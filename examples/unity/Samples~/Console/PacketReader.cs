using System;
using System.Text;

namespace Voxwire.Samples
{
    /// <summary>Reads packets.</summary>
    public sealed class PacketReader
    {
        private byte[] bytes;
        private int at;
        private int end;
        private bool isBroken;

        /// <summary>Reads a packet into <paramref name="packet"/>. False: it is none, or cut off. Bytes behind its end are ignored.</summary>
        public bool TryRead(ArraySegment<byte> from, Packet packet)
        {
            bytes = from.Array;
            at = from.Offset;
            end = from.Offset + from.Count;
            isBroken = false;
            if (U16() != 0x8bc7)
            {
                return false;
            }
            packet.Type = (PacketType)U8();
            if (packet.Type != PacketType.HandshakeRequest)
            {
                packet.Session = U32();
            }
            return ReadBody(packet) && !isBroken;
        }

        private bool ReadBody(Packet packet)
        {
            switch (packet.Type)
            {
                case PacketType.ClientState:
                    packet.Name = String();
                    packet.Client = U16();
                    packet.Codec = Codec();
                    ReadRooms(packet);
                    return true;
                case PacketType.VoiceData:
                    packet.Client = U16();
                    packet.Options = U8();
                    packet.Sequence = U16();
                    packet.Channels.Clear();
                    for (var left = (int)U16(); left > 0 && !isBroken; left--)
                    {
                        packet.Channels.Add(new Channel { Bitfield = U16(), Recipient = U16() });
                    }
                    packet.Frame = Bytes();
                    return true;
                case PacketType.TextData:
                    var recipient = U8();
                    packet.IsToPlayer = recipient == 1;
                    packet.Client = U16();
                    packet.Target = U16();
                    packet.Text = String();
                    return recipient <= 1;
                case PacketType.HandshakeRequest:
                    packet.Codec = Codec();
                    packet.Name = String();
                    return true;
                case PacketType.HandshakeResponse:
                    ReadResponse(packet);
                    return true;
                case PacketType.ErrorWrongSession:
                    return true;
                case PacketType.ServerRelayReliable:
                case PacketType.ServerRelayUnreliable:
                    packet.Destinations.Clear();
                    for (var left = (int)U8(); left > 0 && !isBroken; left--)
                    {
                        packet.Destinations.Add(U16());
                    }
                    packet.Payload = Bytes();
                    return true;
                case PacketType.DeltaClientState:
                    packet.Joined = U8() != 0;
                    packet.Client = U16();
                    packet.Room = String();
                    return true;
                case PacketType.RemoveClient:
                case PacketType.HandshakeP2P:
                    packet.Client = U16();
                    return true;
                default:
                    return false;
            }
        }

        private void ReadResponse(Packet packet)
        {
            packet.Client = U16();
            packet.Clients.Clear();
            for (var left = (int)U16(); left > 0 && !isBroken; left--)
            {
                packet.Clients.Add(new ClientInfo { Name = String(), Client = U16(), Codec = Codec() });
            }
            ReadRooms(packet);
            packet.RoomListeners.Clear();
            for (var left = (int)U16(); left > 0 && !isBroken; left--)
            {
                var room = new RoomListeners { Room = U16() };
                for (var listeners = (int)U8(); listeners > 0 && !isBroken; listeners--)
                {
                    room.Listeners.Add(U16());
                }
                packet.RoomListeners.Add(room);
            }
        }

        private void ReadRooms(Packet packet)
        {
            packet.Rooms.Clear();
            for (var left = (int)U16(); left > 0 && !isBroken; left--)
            {
                packet.Rooms.Add(String());
            }
        }

        private CodecSettings Codec()
        {
            return new CodecSettings { Codec = U8(), FrameSize = U32(), SampleRate = U32() };
        }

        private string String()
        {
            var length = U16() - 1;
            if (length < 0 || !Has(length))
            {
                return null;
            }
            at += length;
            return Encoding.UTF8.GetString(bytes, at - length, length);
        }

        private ArraySegment<byte> Bytes()
        {
            var length = U16();
            if (!Has(length))
            {
                return default(ArraySegment<byte>);
            }
            at += length;
            return new ArraySegment<byte>(bytes, at - length, length);
        }

        private byte U8()
        {
            return Has(1) ? bytes[at++] : (byte)0;
        }

        private ushort U16()
        {
            if (!Has(2))
            {
                return 0;
            }
            at += 2;
            return (ushort)(bytes[at - 2] << 8 | bytes[at - 1]);
        }

        private uint U32()
        {
            return (uint)U16() << 16 | U16();
        }

        private bool Has(int length)
        {
            isBroken |= end - at < length;
            return !isBroken;
        }
    }
}
