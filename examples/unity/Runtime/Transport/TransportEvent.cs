using System;

namespace Voxwire.Transport
{
    /// <summary>How a packet travels.</summary>
    public enum Lane
    {
        /// <summary>All packets arrive, in order.</summary>
        Reliable,

        /// <summary>Packets may be lost, and may arrive in another order.</summary>
        Droppable,
    }

    /// <summary>What a <see cref="TransportEvent"/> tells.</summary>
    public enum TransportEventKind
    {
        /// <summary>The server has admitted this client. What was sent to an earlier connection is not repeated.</summary>
        Connected,

        /// <summary>A packet has come in.</summary>
        Packet,

        /// <summary>Droppable packets go by UDP from now on.</summary>
        UdpUp,

        /// <summary>UDP does not get through. The client goes on trying.</summary>
        UdpBlocked,

        /// <summary>The server has no UDP, or these settings do not allow it.</summary>
        UdpOff,

        /// <summary>Another client can be reached directly.</summary>
        PathUp,

        /// <summary>That client cannot be reached directly any more.</summary>
        PathDown,

        /// <summary>The connection is lost. The client connects again.</summary>
        Disconnected,

        /// <summary>The connection is lost, or there was none, and the settings say not to try again. The last event.</summary>
        Failed,

        /// <summary>The server does not admit this client, so that it is of no use to try again. The last event.</summary>
        Refused,
    }

    /// <summary>One thing that happened.</summary>
    public struct TransportEvent
    {
        /// <summary>What happened.</summary>
        public readonly TransportEventKind Kind;

        /// <summary>The same in words, for a log. Null for a packet.</summary>
        public readonly string Words;

        /// <summary>The packet. It is valid until the next call of <see cref="TransportConnection.TryReceive"/>.</summary>
        public readonly ArraySegment<byte> Packet;

        /// <summary>How the packet travelled.</summary>
        public readonly Lane Lane;

        /// <summary>The direct path of a packet, or the one that is up or down; 0: the server.</summary>
        public readonly int Path;

        internal TransportEvent(TransportEventKind kind, string words, ArraySegment<byte> packet, Lane lane, int path)
        {
            Kind = kind;
            Words = words;
            Packet = packet;
            Lane = lane;
            Path = path;
        }
    }

    /// <summary>Counters of a <see cref="TransportConnection"/> since its start.</summary>
    public struct TransportStatistics
    {
        /// <summary>Packets sent to the server by UDP.</summary>
        public long SentByUdp;

        /// <summary>Packets sent to the server by TCP.</summary>
        public long SentByTcp;

        /// <summary>Packets sent to other clients directly.</summary>
        public long SentDirectly;

        /// <summary>Packets received from the server by UDP.</summary>
        public long ReceivedByUdp;

        /// <summary>Packets received from the server by TCP.</summary>
        public long ReceivedByTcp;

        /// <summary>Packets received from other clients directly.</summary>
        public long ReceivedDirectly;

        /// <summary>Droppable packets that were dropped on the way out: the queue was full, or nothing took them.</summary>
        public long DroppedOut;

        /// <summary>Droppable packets that were dropped on the way in: the application did not take its events.</summary>
        public long DroppedIn;
    }

    /// <summary>Why a connection ended, in words.</summary>
    internal sealed class TransportException : Exception
    {
        /// <summary>Whether it is useless to try again.</summary>
        internal readonly bool IsFinal;

        /// <summary>Whether the server has ended or reset a connection without TLS.</summary>
        internal bool IsClosed;

        internal TransportException(string words, bool isFinal = false) : base(words)
        {
            IsFinal = isFinal;
        }
    }
}
