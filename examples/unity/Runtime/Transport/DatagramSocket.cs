using System;
using System.Net;
using System.Net.Sockets;

namespace Voxwire.Transport
{
    /// <summary>
    /// The UDP socket. Without direct paths it is connected to the server, and nothing is allocated. With them it is not, and .NET allocates an
    /// address for each datagram that comes in (some 100 bytes on Mono).
    /// </summary>
    internal sealed class DatagramSocket : IDisposable
    {
        private readonly Socket socket;
        private readonly bool isConnected;
        private readonly DatagramAddress server;
        private readonly DatagramAddress from;

        internal DatagramSocket(IPEndPoint server, bool forPaths)
        {
            this.server = new DatagramAddress(server);
            from = new DatagramAddress(server);
            socket = new Socket(server.AddressFamily, SocketType.Dgram, ProtocolType.Udp);
            isConnected = !forPaths;
            if (isConnected)
            {
                socket.Connect(server);
            }
            else
            {
                var any = server.AddressFamily == AddressFamily.InterNetwork ? IPAddress.Any : IPAddress.IPv6Any;
                socket.Bind(new IPEndPoint(any, 0));
                IgnoreRefusals();
            }
            socket.Blocking = false;
        }

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

        private int ReceiveFrom(byte[] to, out SocketError error)
        {
            if (!socket.Poll(0, SelectMode.SelectRead))
            {
                error = SocketError.WouldBlock;
                return -1;
            }
            try
            {
                EndPoint source = from;
                error = SocketError.Success;
                return socket.ReceiveFrom(to, 0, to.Length, SocketFlags.None, ref source);
            }
            catch (SocketException refused)
            {
                error = refused.SocketErrorCode;
                return -1;
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
            // The port is in bytes 2 and 3; an IPv4 address in 4 to 7; an IPv6 address in 8 to 23, behind its flow.
            if (family != other.family || bytes[2] != other.bytes[2] || bytes[3] != other.bytes[3])
            {
                return false;
            }
            var start = family == AddressFamily.InterNetwork ? 4 : 8;
            var end = family == AddressFamily.InterNetwork ? 8 : 24;
            for (var at = start; at < end; at++)
            {
                if (bytes[at] != other.bytes[at])
                {
                    return false;
                }
            }
            return true;
        }
    }
}
