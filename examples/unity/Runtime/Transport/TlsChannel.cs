using System;
using System.Diagnostics;
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

        /// <summary>How long the end waits for what is being written, in milliseconds.</summary>
        private const int Farewell = 50;

        private readonly Socket socket;
        private readonly SslStream stream;
        private readonly object gate = new object();
        private readonly byte[] received = new byte[BufferLength];
        private readonly byte[] outgoing = new byte[BufferLength];
        private IAsyncResult writing;
        private int first;
        private int count;
        private bool isOver;
        private bool isClosed;
        private string failure;

        /// <summary>Negotiates TLS on a connected socket.</summary>
        internal TlsChannel(Socket socket, TransportSettings settings, Func<bool> isStopped)
        {
            this.socket = socket;
            socket.Blocking = true;
            socket.SendBufferSize = PlainChannel.SendBuffer;
            var certificates = new CertificateCheck(settings.Tls);
            stream = new SslStream(new NetworkStream(socket, false), false, certificates.Accepts);
            try
            {
                Negotiate(settings, isStopped);
            }
            catch (Exception error)
            {
                // What else systems throw here, besides AuthenticationException and IOException, is written nowhere.
                socket.Close();
                DisposeStream();
                var words = error as TransportException;
                throw words ?? new TransportException(certificates.Refusal ?? "TLS failed: " + Innermost(error));
            }
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
                // A write that waits, waits for ever on Mono, whatever SendTimeout says.
                if (writing != null)
                {
                    if (!writing.IsCompleted)
                    {
                        return 0;
                    }
                    var written = writing;
                    writing = null;
                    stream.EndWrite(written);
                }
                var taken = Math.Min(length, outgoing.Length);
                Buffer.BlockCopy(from, at, outgoing, 0, taken);
                writing = stream.BeginWrite(outgoing, 0, taken, null, null);
                return taken;
            }
            catch (Exception error)
            {
                // Mono has what its own task threw as an AggregateException.
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
            if (writing != null)
            {
                writing.AsyncWaitHandle.WaitOne(Farewell);
            }
            lock (gate)
            {
                isOver = true;
                isClosed = true;
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

        /// <summary>A server that says a byte now and then does not hold this up, nor does it hold up <paramref name="isStopped"/>.</summary>
        private void Negotiate(TransportSettings settings, Func<bool> isStopped)
        {
            var clock = Stopwatch.StartNew();
            // The newest version that the system and the server have in common: 1.2 on Mono.
            var negotiating = stream.BeginAuthenticateAsClient(settings.Tls.ServerName ?? settings.Host, null, SslProtocols.None, false, null, null);
            while (!negotiating.AsyncWaitHandle.WaitOne(20))
            {
                if (isStopped() || clock.ElapsedMilliseconds > settings.ConnectTimeout)
                {
                    throw new TransportException("TLS failed: the server has not answered within " + settings.ConnectTimeout / 1000.0 + " s");
                }
            }
            stream.EndAuthenticateAsClient(negotiating);
        }

        private void ReadAll()
        {
            ReadToEnd();
            lock (gate)
            {
                // The network thread may be writing.
                while (!isClosed)
                {
                    Monitor.Wait(gate);
                }
            }
            DisposeStream();
        }

        private void DisposeStream()
        {
            try
            {
                stream.Dispose();
            }
            catch (Exception)
            {
                // It says farewell on a socket that is closed.
            }
        }

        private void ReadToEnd()
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
