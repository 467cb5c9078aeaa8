using System;
using System.IO;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Threading;

namespace Voxwire.Transport
{
    /// <summary>
    /// TCP inside TLS. <see cref="SslStream"/> cannot be asked whether something has come in, so a thread of its own reads it. It allocates
    /// what <see cref="SslStream"/> allocates.
    /// </summary>
    internal sealed class TlsChannel : IByteChannel
    {
        private const int BufferLength = 16384;
        private const int WriteTimeout = 10000;

        private readonly Socket socket;
        private readonly SslStream stream;
        private readonly object gate = new object();
        private readonly byte[] received = new byte[BufferLength];
        private int first;
        private int count;
        private bool isOver;
        private string failure;

        /// <summary>Negotiates TLS on a connected socket.</summary>
        internal TlsChannel(Socket socket, TlsSettings settings, string host, int timeout)
        {
            this.socket = socket;
            socket.Blocking = true;
            socket.SendTimeout = timeout;
            socket.ReceiveTimeout = timeout;
            var certificates = new CertificateCheck(settings);
            stream = new SslStream(new NetworkStream(socket, false), false, certificates.Accepts);
            try
            {
                // The newest version that the system and the server have in common: 1.2 on Mono.
                stream.AuthenticateAsClient(settings.ServerName ?? host, null, SslProtocols.None, false);
            }
            catch (Exception error) when (error is AuthenticationException || error is IOException || error is SocketException || error is AggregateException)
            {
                stream.Dispose();
                socket.Close();
                throw new TransportException(certificates.Refusal ?? "TLS failed: " + Innermost(error));
            }
            socket.SendTimeout = WriteTimeout;
            socket.ReceiveTimeout = 0;
            new Thread(ReadAll) { IsBackground = true, Name = "Voxwire TLS" }.Start();
        }

        public int Read(byte[] to, int at, int length)
        {
            lock (gate)
            {
                if (count == 0)
                {
                    if (failure != null)
                    {
                        throw new TransportException("the connection is lost (" + failure + ")");
                    }
                    return isOver ? -1 : 0;
                }
                var taken = Math.Min(Math.Min(length, count), BufferLength - first);
                Buffer.BlockCopy(received, first, to, at, taken);
                first = (first + taken) % BufferLength;
                count -= taken;
                Monitor.PulseAll(gate);
                return taken;
            }
        }

        public int Write(byte[] from, int at, int length)
        {
            try
            {
                stream.Write(from, at, length);
                return length;
            }
            catch (Exception error) when (error is IOException || error is ObjectDisposedException || error is InvalidOperationException || error is AggregateException)
            {
                throw new TransportException("the connection is lost (" + Innermost(error) + ")");
            }
        }

        public void Wait(int milliseconds)
        {
            lock (gate)
            {
                if (count == 0 && !isOver)
                {
                    Monitor.Wait(gate, milliseconds);
                }
            }
        }

        public void Dispose()
        {
            lock (gate)
            {
                isOver = true;
                Monitor.PulseAll(gate);
            }
            try
            {
                socket.Shutdown(SocketShutdown.Both);
            }
            catch (SocketException)
            {
                // The connection is gone already.
            }
            socket.Close();
        }

        private void ReadAll()
        {
            var buffer = new byte[BufferLength];
            string why = null;
            try
            {
                for (int read; (read = stream.Read(buffer, 0, buffer.Length)) > 0;)
                {
                    if (!Keep(buffer, read))
                    {
                        return;
                    }
                }
            }
            catch (Exception error)
            {
                // Whatever it is (Mono has what its own task threw as an AggregateException): on this thread it would end the game.
                why = Innermost(error);
            }
            lock (gate)
            {
                failure = why;
                isOver = true;
                Monitor.PulseAll(gate);
            }
        }

        /// <summary>Waits for room, and keeps what has been read. False: nobody wants it any more.</summary>
        private bool Keep(byte[] buffer, int length)
        {
            lock (gate)
            {
                for (var at = 0; at < length;)
                {
                    while (count == BufferLength && !isOver)
                    {
                        Monitor.Wait(gate);
                    }
                    if (isOver)
                    {
                        return false;
                    }
                    var end = (first + count) % BufferLength;
                    var kept = Math.Min(Math.Min(length - at, BufferLength - count), BufferLength - end);
                    Buffer.BlockCopy(buffer, at, received, end, kept);
                    count += kept;
                    at += kept;
                    Monitor.PulseAll(gate);
                }
                return true;
            }
        }

        private static string Innermost(Exception error)
        {
            while (error.InnerException != null)
            {
                error = error.InnerException;
            }
            return error.Message;
        }
    }
}
