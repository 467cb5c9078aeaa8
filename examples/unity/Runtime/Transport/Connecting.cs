using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Threading;

namespace Voxwire.Transport
{
    /// <summary>
    /// How a TCP connection is made: to the first of the server's addresses that answers. An address that does not answer soon is not waited
    /// for while there is another one (RFC 8305).
    /// </summary>
    internal static class Connecting
    {
        /// <summary>How long an address is waited for before the next one is tried beside it, in milliseconds.</summary>
        private const int Head = 250;

        /// <summary>Connects, or throws why not. Asks <paramref name="isStopped"/> now and then whether to give up.</summary>
        internal static Socket Connect(TransportSettings settings, Func<bool> isStopped)
        {
            var addresses = Resolve(settings.Host);
            var attempts = new List<Attempt>();
            var clock = Stopwatch.StartNew();
            var tried = 0;
            long nextAt = 0;
            string why = null;
            try
            {
                while (!isStopped() && clock.ElapsedMilliseconds < settings.ConnectTimeout && (tried < addresses.Length || attempts.Count > 0))
                {
                    if (tried < addresses.Length && (attempts.Count == 0 || clock.ElapsedMilliseconds >= nextAt))
                    {
                        attempts.Add(new Attempt(new IPEndPoint(addresses[tried++], settings.Port)));
                        nextAt = clock.ElapsedMilliseconds + Head;
                    }
                    var socket = TakeFirst(attempts, ref why);
                    if (socket != null)
                    {
                        return Prepared(socket);
                    }
                    Thread.Sleep(5);
                }
            }
            finally
            {
                attempts.ForEach(attempt => attempt.Dispose());
            }
            why = why ?? "no answer within " + settings.ConnectTimeout / 1000.0 + " s";
            throw new TransportException("cannot connect to " + settings.Host + ":" + settings.Port + ": " + why);
        }

        private static Socket Prepared(Socket socket)
        {
            try
            {
                socket.NoDelay = true;
                KeepAlive(socket);
                return socket;
            }
            catch (SocketException)
            {
                // Some systems do not set anything on a connection that is over already.
                socket.Close();
                throw;
            }
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
                throw new TransportException("\"" + host + "\" cannot be a name");
            }
        }

        /// <summary>The socket of the first attempt that has come to a connection. Those that have failed are removed.</summary>
        private static Socket TakeFirst(List<Attempt> attempts, ref string why)
        {
            for (var at = attempts.Count - 1; at >= 0; at--)
            {
                if (!attempts[at].IsOver)
                {
                    continue;
                }
                var attempt = attempts[at];
                attempts.RemoveAt(at);
                var failure = attempt.End();
                if (failure == null)
                {
                    return attempt.Socket;
                }
                why = failure;
            }
            return null;
        }

        /// <summary>Has the system notice within half a minute that an idle server has vanished, where it can be told so.</summary>
        private static void KeepAlive(Socket socket)
        {
            socket.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.KeepAlive, true);
            try
            {
                // On, after 10 s without a byte, every 2 s (Linux: nine times): three numbers of 32 bits in the machine's order.
                var values = new byte[12];
                BitConverter.GetBytes(1).CopyTo(values, 0);
                BitConverter.GetBytes(10000).CopyTo(values, 4);
                BitConverter.GetBytes(2000).CopyTo(values, 8);
                socket.IOControl(IOControlCode.KeepAliveValues, values, null);
            }
            catch (Exception error) when (error is SocketException || error is NotSupportedException || error is NotImplementedException)
            {
                // The system's own times, then.
            }
        }

        /// <summary>One address that is being tried.</summary>
        internal sealed class Attempt : IDisposable
        {
            internal readonly Socket Socket;
            private readonly IAsyncResult connecting;
            private readonly string failure;

            internal Attempt(IPEndPoint to)
            {
                try
                {
                    Socket = new Socket(to.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
                    connecting = Socket.BeginConnect(to, null, null);
                }
                catch (SocketException error)
                {
                    // This system has no such addresses, for instance.
                    failure = error.SocketErrorCode.ToString();
                }
            }

            internal bool IsOver
            {
                get { return connecting == null || connecting.IsCompleted; }
            }

            /// <summary>Why there is no connection; null: there is one.</summary>
            internal string End()
            {
                try
                {
                    if (connecting != null)
                    {
                        Socket.EndConnect(connecting);
                        return null;
                    }
                }
                catch (SocketException error)
                {
                    Dispose();
                    return error.SocketErrorCode.ToString();
                }
                Dispose();
                return failure;
            }

            public void Dispose()
            {
                if (Socket != null)
                {
                    Socket.Close();
                }
            }
        }
    }
}
