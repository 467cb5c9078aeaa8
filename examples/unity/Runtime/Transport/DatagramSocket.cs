using System;
using System.Net;
using System.Net.Sockets;

namespace Voxwire.Transport
{
    /// <summary>
    /// The UDP socket. Without direct paths it is connected to the server. With them it is not, and the sender of each datagram is asked for.
    /// </summary>
    internal sealed class DatagramSocket : IDisposable
    {
        private readonly Socket socket;
        private readonly bool isConnected;
        private readonly DatagramAddress server;
        private readonly DatagramAddress from;
        private readonly byte[] sender = new byte[SystemReceive.AddressLength];
        private readonly Func<Socket, byte[], int, byte[], int> receive;

        /// <summary>For tests, <paramref name="receive"/> may stand for <see cref="SystemReceive.From"/>.</summary>
        internal DatagramSocket(IPEndPoint server, bool forPaths, Func<Socket, byte[], int, byte[], int> receive = null)
        {
            this.receive = receive ?? SystemReceive.From;
            this.server = new DatagramAddress(server);
            from = new DatagramAddress(server);
            socket = new Socket(server.AddressFamily, SocketType.Dgram, ProtocolType.Udp);
            isConnected = !forPaths;
            try
            {
                Open(server);
            }
            catch (SocketException)
            {
                socket.Close();
                throw;
            }
        }

        /// <summary>How the sender of a datagram is learnt.</summary>
        internal Way Way { get; private set; }

        internal AddressFamily Family
        {
            get { return server.AddressFamily; }
        }

        /// <summary>Where the last datagram came from. It changes with the next one.</summary>
        internal DatagramAddress From
        {
            get { return from; }
        }

        /// <summary>Whether the last datagram came from the server.</summary>
        internal bool IsFromServer
        {
            get { return isConnected || from.IsSame(server); }
        }

        /// <summary>Takes one datagram, without waiting. Returns its length, or -1 if there is none.</summary>
        internal int Receive(byte[] to)
        {
            // A refusal by the system is about what was sent, and shows as silence. There are not more of them than datagrams sent.
            for (var tries = 0; tries < 16; tries++)
            {
                SocketError error;
                var length = isConnected ? socket.Receive(to, 0, to.Length, SocketFlags.None, out error) : ReceiveFrom(to, out error);
                if (error == SocketError.Success)
                {
                    return length;
                }
                if (error == SocketError.WouldBlock)
                {
                    return -1;
                }
            }
            return -1;
        }

        /// <summary>Sends to the server. False: it is lost.</summary>
        internal bool Send(byte[] datagram, int length)
        {
            if (!isConnected)
            {
                return SendTo(datagram, length, server);
            }
            // Mono's Send would wait for room.
            if (!socket.Poll(0, SelectMode.SelectWrite))
            {
                return false;
            }
            SocketError error;
            socket.Send(datagram, 0, length, SocketFlags.None, out error);
            return error == SocketError.Success;
        }

        /// <summary>Sends to another client. False: it is lost.</summary>
        internal bool SendTo(byte[] datagram, int length, DatagramAddress to)
        {
            try
            {
                socket.SendTo(datagram, 0, length, SocketFlags.None, to);
                return true;
            }
            catch (SocketException)
            {
                // A full socket, a network that is down for the moment: what may be lost is lost.
                return false;
            }
        }

        /// <summary>Waits until something has come in, at most for so many milliseconds.</summary>
        internal void Wait(int milliseconds)
        {
            socket.Poll(milliseconds * 1000, SelectMode.SelectRead);
        }

        public void Dispose()
        {
            socket.Close();
        }

        private void Open(IPEndPoint to)
        {
            if (isConnected)
            {
                socket.Connect(to);
            }
            else
            {
                var any = to.AddressFamily == AddressFamily.InterNetwork ? IPAddress.Any : IPAddress.IPv6Any;
                socket.Bind(new IPEndPoint(any, 0));
                IgnoreRefusals();
            }
            socket.Blocking = false;
        }

        private int ReceiveFrom(byte[] to, out SocketError error)
        {
            if (!socket.Poll(0, SelectMode.SelectRead))
            {
                error = SocketError.WouldBlock;
                return -1;
            }
            if (Way == Way.System)
            {
                var length = receive(socket, to, 0, sender);
                error = length < 0 ? SocketError.SocketError : SocketError.Success;
                from.Set(sender);
                return length;
            }
            try
            {
                var isSeen = Way == Way.Unknown && Peek(to);
                EndPoint source = from;
                error = SocketError.Success;
                var length = socket.ReceiveFrom(to, 0, to.Length, SocketFlags.None, ref source);
                if (isSeen)
                {
                    Way = from.IsSame(sender) ? Way.System : Way.Runtime;
                }
                return length;
            }
            catch (SocketException refused)
            {
                error = refused.SocketErrorCode;
                return -1;
            }
        }

        /// <summary>Whether the system's own function shows who has sent the datagram that waits. False: this datagram decides nothing.</summary>
        private bool Peek(byte[] to)
        {
            try
            {
                return receive(socket, to, SystemReceive.Peek, sender) >= 0;
            }
            catch (Exception)
            {
                // Another system, or one where no function may be looked for: the runtime's way is slower, and just as good.
                Way = Way.Runtime;
                return false;
            }
        }

        /// <summary>On Windows a datagram that is refused would make the next call fail.</summary>
        private void IgnoreRefusals()
        {
            const int ConnectionReset = -1744830452;
            try
            {
                socket.IOControl(ConnectionReset, new byte[] { 0, 0, 0, 0 }, null);
            }
            catch (Exception error) when (error is SocketException || error is NotSupportedException || error is NotImplementedException)
            {
                // Another system.
            }
        }
    }

    /// <summary>How to learn who has sent a datagram.</summary>
    internal enum Way
    {
        /// <summary>The next datagram is looked at both ways. The first one that the system shows decides.</summary>
        Unknown,

        /// <summary>By <see cref="SystemReceive"/>.</summary>
        System,

        /// <summary>By the runtime, which allocates an address for each datagram.</summary>
        Runtime,
    }

    /// <summary>An address as the system has it. It is handed to sockets as it is, which saves an allocation for each datagram.</summary>
    internal sealed class DatagramAddress : EndPoint
    {
        private readonly AddressFamily family;
        private SocketAddress bytes;

        internal DatagramAddress(IPEndPoint address)
        {
            family = address.AddressFamily;
            bytes = address.Serialize();
        }

        private DatagramAddress(DatagramAddress other)
        {
            family = other.family;
            bytes = new SocketAddress(family, other.bytes.Size);
            for (var at = 0; at < bytes.Size; at++)
            {
                bytes[at] = other.bytes[at];
            }
        }

        /// <inheritdoc/>
        public override AddressFamily AddressFamily
        {
            get { return family; }
        }

        /// <inheritdoc/>
        public override SocketAddress Serialize()
        {
            return bytes;
        }

        /// <inheritdoc/>
        public override EndPoint Create(SocketAddress address)
        {
            bytes = address;
            return this;
        }

        /// <inheritdoc/>
        public override string ToString()
        {
            var empty = family == AddressFamily.InterNetwork ? new IPEndPoint(IPAddress.Any, 0) : new IPEndPoint(IPAddress.IPv6Any, 0);
            return empty.Create(bytes).ToString();
        }

        internal DatagramAddress Copy()
        {
            return new DatagramAddress(this);
        }

        /// <summary>Whether address and port are the same.</summary>
        internal bool IsSame(DatagramAddress other)
        {
            if (family != other.family || bytes[2] != other.bytes[2] || bytes[3] != other.bytes[3])
            {
                return false;
            }
            for (var at = Start; at < End; at++)
            {
                if (bytes[at] != other.bytes[at])
                {
                    return false;
                }
            }
            return true;
        }

        /// <summary>Likewise of an address of this family that the system has written.</summary>
        internal bool IsSame(byte[] other)
        {
            var isSame = bytes[2] == other[2] && bytes[3] == other[3];
            for (var at = Start; at < End; at++)
            {
                isSame &= bytes[at] == other[at];
            }
            return isSame;
        }

        /// <summary>Becomes an address of this family that the system has written.</summary>
        internal void Set(byte[] other)
        {
            // The family, before the port, is written in several ways.
            for (var at = 2; at < bytes.Size; at++)
            {
                bytes[at] = other[at];
            }
        }

        // The port is in bytes 2 and 3; an IPv4 address in 4 to 7; an IPv6 address in 8 to 23, behind its flow.

        private int Start
        {
            get { return family == AddressFamily.InterNetwork ? 4 : 8; }
        }

        private int End
        {
            get { return family == AddressFamily.InterNetwork ? 8 : 24; }
        }
    }
}
