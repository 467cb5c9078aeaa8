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
        private readonly Socket socket;

        internal PlainChannel(Socket socket)
        {
            this.socket = socket;
            socket.Blocking = false;
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
                throw new TransportException("the connection is lost (" + error + ")");
            }
            return read == 0 ? -1 : read;
        }

        public int Write(byte[] from, int at, int length)
        {
            SocketError error;
            var written = socket.Send(from, at, length, SocketFlags.None, out error);
            if (error != SocketError.Success && error != SocketError.WouldBlock)
            {
                throw new TransportException("the connection is lost (" + error + ")");
            }
            return error == SocketError.Success ? written : 0;
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
    }
}
