using System;
using System.Collections.Generic;

namespace Voxwire.Samples
{
    /// <summary>The eleven packets of Dissonance; proto-dissonance/PROTOCOL.md has their bytes.</summary>
    public enum PacketType : byte
    {
        ClientState = 1,
        VoiceData = 2,
        TextData = 3,
        HandshakeRequest = 4,
        HandshakeResponse = 5,
        ErrorWrongSession = 6,
        ServerRelayReliable = 7,
        ServerRelayUnreliable = 8,
        DeltaClientState = 9,
        RemoveClient = 10,
        HandshakeP2P = 11,
    }

    /// <summary>What a client encodes its voice with.</summary>
    public struct CodecSettings
    {
        /// <summary>0 Identity, 1 Opus.</summary>
        public byte Codec;

        /// <summary>In samples.</summary>
        public uint FrameSize;

        /// <summary>In Hz.</summary>
        public uint SampleRate;

        /// <summary>Opus at 48 kHz, 20 ms a frame.</summary>
        public static CodecSettings Opus
        {
            get { return new CodecSettings { Codec = 1, FrameSize = 960, SampleRate = 48000 }; }
        }
    }

    /// <summary>A client, as the server describes it.</summary>
    public struct ClientInfo
    {
        public string Name;
        public ushort Client;
        public CodecSettings Codec;
    }

    /// <summary>Whom a voice packet is for.</summary>
    public struct Channel
    {
        /// <summary>Bit 0: a room, otherwise a player; 1: positional; 2: closing; 3 and 4: priority; 5 and 6: session; 8 to 15: volume.</summary>
        public ushort Bitfield;

        /// <summary>The number of the room or of the client.</summary>
        public ushort Recipient;

        public bool IsRoom
        {
            get { return (Bitfield & 1) != 0; }
        }
    }

    /// <summary>Who listens to a room.</summary>
    public sealed class RoomListeners
    {
        public ushort Room;
        public readonly List<ushort> Listeners = new List<ushort>();
    }

    /// <summary>A packet of any type. Only the fields of its type count. It can be used again, and then nothing is allocated for voice.</summary>
    public sealed class Packet
    {
        public PacketType Type;

        /// <summary>Every type but HandshakeRequest.</summary>
        public uint Session;

        /// <summary>The sender, or the client that the packet is about.</summary>
        public ushort Client;

        /// <summary>HandshakeRequest and ClientState. Null is possible.</summary>
        public string Name;

        /// <summary>HandshakeRequest and ClientState.</summary>
        public CodecSettings Codec;

        /// <summary>ClientState and HandshakeResponse.</summary>
        public readonly List<string> Rooms = new List<string>();

        /// <summary>HandshakeResponse.</summary>
        public readonly List<ClientInfo> Clients = new List<ClientInfo>();

        /// <summary>HandshakeResponse.</summary>
        public readonly List<RoomListeners> RoomListeners = new List<RoomListeners>();

        /// <summary>VoiceData.</summary>
        public byte Options;

        /// <summary>VoiceData.</summary>
        public ushort Sequence;

        /// <summary>VoiceData.</summary>
        public readonly List<Channel> Channels = new List<Channel>();

        /// <summary>VoiceData. A part of the bytes that the packet was read from.</summary>
        public ArraySegment<byte> Frame;

        /// <summary>TextData: to a player, otherwise to a room.</summary>
        public bool IsToPlayer;

        /// <summary>TextData: the number of the player or of the room.</summary>
        public ushort Target;

        /// <summary>TextData. Null is possible.</summary>
        public string Text;

        /// <summary>ServerRelayReliable and ServerRelayUnreliable.</summary>
        public readonly List<ushort> Destinations = new List<ushort>();

        /// <summary>ServerRelayReliable and ServerRelayUnreliable: a whole packet. A part of the bytes that this one was read from.</summary>
        public ArraySegment<byte> Payload;

        /// <summary>DeltaClientState.</summary>
        public bool Joined;

        /// <summary>DeltaClientState. Null is possible.</summary>
        public string Room;
    }

    /// <summary>The numbers of rooms.</summary>
    public static class RoomId
    {
        /// <summary>The number by which voice packets name a room.</summary>
        public static ushort Of(string name)
        {
            unchecked
            {
                var hash = 2166136261;
                foreach (var unit in name)
                {
                    hash = (hash ^ (byte)(unit >> 8)) * 16777619;
                    hash = (hash ^ (byte)unit) * 16777619;
                }
                return (ushort)((hash >> 16) * 5791 + (hash & 0xffff) * 7639);
            }
        }
    }
}
