using System;
using System.Diagnostics;
using System.Net;
using System.Net.Sockets;

namespace Voxwire.Transport
{
    /// <summary>How a TCP connection is made: an address after the other, until one answers.</summary>
    internal static class Connecting
    {
        /// <summary>Connects, or throws why not. Asks <paramref name="isStopped"/> now and then whether to give up.</summary>
        internal static Socket Connect(TransportSettings settings, Func<bool> isStopped)
        {
            var clock = Stopwatch.StartNew();
            var addresses = Resolve(settings.Host);
            SocketException last = null;
            for (var at = 0; at < addresses.Length; at++)
            {
                // Each has an equal part of the time that is left.
                var left = settings.ConnectTimeout - clock.ElapsedMilliseconds;
                var socket = new Socket(addresses[at].AddressFamily, SocketType.Stream, ProtocolType.Tcp);
                try
                {
                    if (TryConnect(socket, new IPEndPoint(addresses[at], settings.Port), left / (addresses.Length - at), isStopped))
                    {
                        socket.NoDelay = true;
                        KeepAlive(socket);
                        return socket;
                    }
                }
                catch (SocketException error)
                {
                    last = error;
                }
                socket.Close();
            }
            var why = last == null ? "no answer within " + settings.ConnectTimeout / 1000.0 + " s" : last.SocketErrorCode.ToString();
            throw new TransportException("cannot connect to " + settings.Host + ":" + settings.Port + ": " + why);
        }

        private static IPAddress[] Resolve(string host)
        {
            IPAddress literal;
            if (IPAddress.TryParse(host, out literal))
            {
                return new[] { literal };
            }
            try
            {
                return Dns.GetHostAddresses(host);
            }
            catch (SocketException error)
            {
                throw new TransportException("the name " + host + " cannot be found: " + error.SocketErrorCode);
            }
            catch (ArgumentException)
            {
                throw new TransportException("the name \"" + host + "\" is none");
            }
        }

        private static bool TryConnect(Socket socket, IPEndPoint to, long timeout, Func<bool> isStopped)
        {
            var clock = Stopwatch.StartNew();
            var connecting = socket.BeginConnect(to, null, null);
            while (!connecting.AsyncWaitHandle.WaitOne(20))
            {
                if (isStopped() || clock.ElapsedMilliseconds >= timeout)
                {
                    return false;
                }
            }
            socket.EndConnect(connecting);
            return true;
        }

        /// <summary>Has the system notice within half a minute that an idle server has vanished, where it can be told so.</summary>
        private static void KeepAlive(Socket socket)
        {
            socket.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.KeepAlive, true);
            try
            {
                // On, after 15 s without a byte, every 5 s: three numbers of 32 bits in the machine's order.
                var values = new byte[12];
                BitConverter.GetBytes(1).CopyTo(values, 0);
                BitConverter.GetBytes(15000).CopyTo(values, 4);
                BitConverter.GetBytes(5000).CopyTo(values, 8);
                socket.IOControl(IOControlCode.KeepAliveValues, values, null);
            }
            catch (Exception error) when (error is SocketException || error is NotSupportedException || error is NotImplementedException)
            {
                // The system's own times, then.
            }
        }
    }
}
