using System;

namespace Voxwire.Transport
{
    /// <summary>Bytes that wait until the system takes them on the TCP side. All memory is taken at the start.</summary>
    internal sealed class Output
    {
        /// <summary>Room for a control, of which two may wait.</summary>
        private const int ControlRoom = 32;

        /// <summary>A server that takes nothing for so long, in milliseconds, is given up.</summary>
        private const int Stuck = 15000;

        private readonly byte[] bytes;
        private long tookAt;

        /// <summary>Room for so many bytes of units, and for controls beside them. A hello has room as well.</summary>
        internal Output(int capacity, long now)
        {
            bytes = new byte[capacity + 2 * ControlRoom];
            tookAt = now;
        }

        /// <summary>How many bytes wait.</summary>
        internal int Count { get; private set; }

        internal bool HasRoomForControl
        {
            get { return Count + ControlRoom <= bytes.Length; }
        }

        /// <summary>Adds bytes as they are.</summary>
        internal void Put(byte[] from)
        {
            Buffer.BlockCopy(from, 0, bytes, Count, from.Length);
            Count += from.Length;
        }

        /// <summary>Adds a packet.</summary>
        internal void PutUnit(byte kind, byte[] from, int at, int length)
        {
            Wire.WriteUnitHead(bytes, Count, kind, length);
            Buffer.BlockCopy(from, at, bytes, Count + Wire.UnitHead, length);
            Count += Wire.UnitHead + length;
        }

        /// <summary>Adds a control, and so many bytes of a nonce.</summary>
        internal void PutControl(byte control, byte[] nonce, int nonceLength)
        {
            Wire.WriteUnitHead(bytes, Count, Wire.UnitControl, 1 + nonceLength);
            bytes[Count + Wire.UnitHead] = control;
            Buffer.BlockCopy(nonce, 0, bytes, Count + Wire.UnitHead + 1, nonceLength);
            Count += Wire.UnitHead + 1 + nonceLength;
        }

        /// <summary>Hands over what is taken.</summary>
        internal void Write(IByteChannel channel, long now)
        {
            if (Count == 0)
            {
                tookAt = now;
                return;
            }
            var written = channel.Write(bytes, 0, Count);
            Count -= written;
            Buffer.BlockCopy(bytes, written, bytes, 0, Count);
            if (written > 0)
            {
                tookAt = now;
            }
            else if (now - tookAt > Stuck)
            {
                throw new TransportException("the server takes nothing any more");
            }
        }
    }
}
