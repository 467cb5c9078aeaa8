using System;

namespace Voxwire.Transport
{
    /// <summary>The bytes of the transport, as sections 1 to 4 and 6 of transport/PROTOCOL.md have them.</summary>
    internal static class Wire
    {
        /// <summary>Length of a server's hello.</summary>
        internal const int ServerHelloLength = 32;

        /// <summary>Longest token, in bytes.</summary>
        internal const int MaxToken = 1024;

        /// <summary>What a unit begins with: a length of two bytes, and the kind.</summary>
        internal const int UnitHead = 3;

        /// <summary>What a datagram begins with: the kind, and the tag of seven bytes.</summary>
        internal const int DatagramHead = 8;

        internal const int TagLength = 7;
        internal const int CookieLength = 16;
        internal const int NonceLength = 8;
        internal const int KeyLength = 16;

        /// <summary>Length of a PROBE, and of its ack.</summary>
        internal const int ProbeLength = DatagramHead + KeyLength - TagLength + 8;

        /// <summary>Epoch and number of a RELIABLE.</summary>
        internal const int NumberLength = 6;

        // Kinds of units.
        internal const byte UnitReliable = 0;
        internal const byte UnitDroppable = 1;
        internal const byte UnitControl = 2;

        // Controls.
        internal const byte Confirm = 1;
        internal const byte Down = 2;
        internal const byte Bound = 3;
        internal const byte Peer = 4;
        internal const byte Gone = 5;

        // Kinds of datagrams to and from the server.
        internal const byte Bind = 1;
        internal const byte Challenge = 2;
        internal const byte Data = 3;
        internal const byte Ping = 4;
        internal const byte Pong = 5;

        // Kinds of datagrams between clients.
        internal const byte Probe = 6;
        internal const byte ProbeAck = 7;
        internal const byte PathDroppable = 8;
        internal const byte PathReliable = 9;
        internal const byte PathReliableAck = 10;

        private static readonly byte[] Magic = { (byte)'V', (byte)'O', (byte)'X', (byte)'L', 1 };

        /// <summary>What a client opens the TCP side with. A token longer than <see cref="MaxToken"/> is an error.</summary>
        internal static byte[] ClientHello(bool udp, bool direct, byte[] token)
        {
            if (token.Length > MaxToken)
            {
                throw new ArgumentException("the token has " + token.Length + " bytes, at most " + MaxToken + " are possible");
            }
            var hello = new byte[8 + token.Length];
            Magic.CopyTo(hello, 0);
            hello[5] = (byte)((udp ? 1 : 0) | (direct ? 2 : 0));
            WriteU16(hello, 6, token.Length);
            token.CopyTo(hello, 8);
            return hello;
        }

        /// <summary>Whether these bytes are, or can still become, a server's hello of this version.</summary>
        internal static bool MayBeHello(byte[] bytes, int count)
        {
            return Same(bytes, 0, Magic, 0, Math.Min(count, Magic.Length));
        }

        /// <summary>Whether these bytes are, or may become, an alert of TLS: what a server with TLS answers to a client without it.</summary>
        internal static bool IsTlsAlert(byte[] bytes, int count)
        {
            return count >= 2 && bytes[0] == 21 && bytes[1] == 3;
        }

        /// <summary>Reads a server's hello: <see cref="ServerHelloLength"/> bytes of which <see cref="MayBeHello"/> has said so.</summary>
        internal static ServerHello ReadServerHello(byte[] bytes)
        {
            return new ServerHello(bytes[5] == 0, ReadU16(bytes, 6), Slice(bytes, 8, TagLength), Slice(bytes, 15, CookieLength));
        }

        /// <summary>Writes what every datagram begins with.</summary>
        internal static void WriteDatagramHead(byte[] to, byte kind, byte[] tag)
        {
            to[0] = kind;
            Buffer.BlockCopy(tag, 0, to, 1, TagLength);
        }

        /// <summary>Writes a PROBE or a PROBE_ACK. Returns its length.</summary>
        internal static int WriteProbe(byte[] to, byte kind, byte[] key, uint first, uint second)
        {
            WriteDatagramHead(to, kind, key);
            Buffer.BlockCopy(key, TagLength, to, DatagramHead, KeyLength - TagLength);
            WriteU32(to, DatagramHead + KeyLength - TagLength, first);
            WriteU32(to, DatagramHead + KeyLength - TagLength + 4, second);
            return ProbeLength;
        }

        /// <summary>Writes the epoch and the number of a RELIABLE, behind what every datagram begins with.</summary>
        internal static void WriteNumber(byte[] to, uint epoch, int number)
        {
            WriteU32(to, DatagramHead, epoch);
            WriteU16(to, DatagramHead + 4, number);
        }

        /// <summary>Writes what a unit begins with, for a packet or a control of this length.</summary>
        internal static void WriteUnitHead(byte[] to, int at, byte kind, int length)
        {
            WriteU16(to, at, length + 1);
            to[at + 2] = kind;
        }

        /// <summary>Whether a datagram of at least <see cref="DatagramHead"/> bytes has this tag.</summary>
        internal static bool HasTag(byte[] datagram, byte[] tag)
        {
            return Same(datagram, 1, tag, 0, TagLength);
        }

        internal static void WriteU16(byte[] to, int at, int value)
        {
            to[at] = (byte)(value >> 8);
            to[at + 1] = (byte)value;
        }

        internal static int ReadU16(byte[] from, int at)
        {
            return from[at] << 8 | from[at + 1];
        }

        internal static void WriteU32(byte[] to, int at, uint value)
        {
            WriteU16(to, at, (int)(value >> 16));
            WriteU16(to, at + 2, (int)(value & 0xffff));
        }

        internal static uint ReadU32(byte[] from, int at)
        {
            return (uint)ReadU16(from, at) << 16 | (uint)ReadU16(from, at + 2);
        }

        internal static bool Same(byte[] a, int atA, byte[] b, int atB, int length)
        {
            for (var at = 0; at < length; at++)
            {
                if (a[atA + at] != b[atB + at])
                {
                    return false;
                }
            }
            return true;
        }

        internal static byte[] Slice(byte[] from, int at, int length)
        {
            var slice = new byte[length];
            Buffer.BlockCopy(from, at, slice, 0, length);
            return slice;
        }
    }

    /// <summary>A server's answer to a hello.</summary>
    internal struct ServerHello
    {
        internal readonly bool Admitted;

        /// <summary>0: there is no UDP.</summary>
        internal readonly int UdpPort;

        internal readonly byte[] Tag;
        internal readonly byte[] Cookie;

        internal ServerHello(bool admitted, int udpPort, byte[] tag, byte[] cookie)
        {
            Admitted = admitted;
            UdpPort = udpPort;
            Tag = tag;
            Cookie = cookie;
        }
    }
}
