using System;

namespace Voxwire.Transport
{
    /// <summary>Packets that wait to be sent: any thread adds, the network thread takes. All memory is taken at the start.</summary>
    internal sealed class PacketQueue
    {
        private readonly byte[][] packets;
        private readonly int[] lengths;
        private readonly int[] paths;
        private int first;
        private int count;

        internal PacketQueue(int capacity, int maxPacket)
        {
            packets = new byte[capacity][];
            for (var at = 0; at < capacity; at++)
            {
                packets[at] = new byte[maxPacket];
            }
            lengths = new int[capacity];
            paths = new int[capacity];
        }

        /// <summary>Adds a packet. False: the queue is full.</summary>
        internal bool TryAdd(ArraySegment<byte> packet, int path)
        {
            lock (packets)
            {
                if (count == packets.Length)
                {
                    return false;
                }
                Put(packet, path);
                return true;
            }
        }

        /// <summary>Adds a packet, in the place of the oldest if the queue is full. False: one was dropped.</summary>
        internal bool AddOrDropOldest(ArraySegment<byte> packet, int path)
        {
            lock (packets)
            {
                var full = count == packets.Length;
                if (full)
                {
                    first = (first + 1) % packets.Length;
                    count--;
                }
                Put(packet, path);
                return !full;
            }
        }

        /// <summary>Takes the oldest packet and copies it into <paramref name="to"/>. Returns its length, or -1 if there is none.</summary>
        internal int Take(byte[] to, int at, out int path)
        {
            lock (packets)
            {
                path = 0;
                if (count == 0)
                {
                    return -1;
                }
                var length = lengths[first];
                Buffer.BlockCopy(packets[first], 0, to, at, length);
                path = paths[first];
                first = (first + 1) % packets.Length;
                count--;
                return length;
            }
        }

        /// <summary>Drops everything. Returns how many packets that were.</summary>
        internal int Clear()
        {
            lock (packets)
            {
                var dropped = count;
                count = 0;
                return dropped;
            }
        }

        private void Put(ArraySegment<byte> packet, int path)
        {
            var at = (first + count) % packets.Length;
            Buffer.BlockCopy(packet.Array, packet.Offset, packets[at], 0, packet.Count);
            lengths[at] = packet.Count;
            paths[at] = path;
            count++;
        }
    }
}
