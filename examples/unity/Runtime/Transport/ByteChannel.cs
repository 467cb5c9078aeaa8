using System;
using System.Net.Sockets;

namespace Voxwire.Transport
{
    /// <summary>The TCP side as a stream of bytes. Used by the network thread alone.</summary>
    internal interface IByteChannel : IDisposable
    {
        /// <summary>Takes what has come in, without waiting. Returns 0 if that is nothing, and -1 once the server has ended the stream.</summary>
        int Read(byte[] to, int at, int length);

        /// <summary>Sends what the system takes at the moment. Returns how much that is.</summary>
        int Write(byte[] from, int at, int length);

        /// <summary>Waits until something has come in, at most for so many milliseconds.</summary>
        void Wait(int milliseconds);
    }

    /// <summary>TCP as it is. Allocates nothing.</summary>
    internal sealed class PlainChannel : IByteChannel
    {
        /// <summary>What the system holds of what it cannot send yet, in bytes. A system may hold more.</summary>
        internal const int SendBuffer = 65536;

        /// <summary>Bytes that a system which calls a socket writable takes at once.</summary>
        private const int Piece = 2048;

        private readonly Socket socket;

        internal PlainChannel(Socket socket)
        {
            this.socket = socket;
            socket.Blocking = false;
            socket.SendBufferSize = SendBuffer;
        }

        public int Read(byte[] to, int at, int length)
        {
            SocketError error;
            var read = socket.Receive(to, at, length, SocketFlags.None, out error);
            if (error == SocketError.WouldBlock)
            {
                return 0;
            }
            if (error != SocketError.Success)
            {
                throw Lost(error);
            }
            return read == 0 ? -1 : read;
        }

        public int Write(byte[] from, int at, int length)
        {
            // Mono's Send does not return before everything has been taken, also where a socket does not block: it tries again and again, for
            // ever if the server takes nothing. So it is handed what is taken at once.
            var written = 0;
            while (written < length && socket.Poll(0, SelectMode.SelectWrite))
            {
                SocketError error;
                var taken = socket.Send(from, at + written, Math.Min(Piece, length - written), SocketFlags.None, out error);
                if (error == SocketError.WouldBlock)
                {
                    break;
                }
                if (error != SocketError.Success)
                {
                    throw Lost(error);
                }
                written += taken;
            }
            return written;
        }

        public void Wait(int milliseconds)
        {
            socket.Poll(milliseconds * 1000, SelectMode.SelectRead);
        }

        public void Dispose()
        {
            try
            {
                // What has been sent still arrives.
                socket.Shutdown(SocketShutdown.Send);
            }
            catch (SocketException)
            {
                // The connection is gone already.
            }
            catch (ObjectDisposedException)
            {
                // The same.
            }
            socket.Close();
        }

        private static TransportException Lost(SocketError error)
        {
            return new TransportException("the connection is lost (" + error + ")")
            {
                IsClosed = error == SocketError.ConnectionReset || error == SocketError.ConnectionAborted || error == SocketError.Shutdown,
            };
        }
    }
}
