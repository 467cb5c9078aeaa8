using System;

namespace Voxwire.Transport
{
    /// <summary>
    /// Events that wait for the application: the network thread adds, one other thread takes. All memory is taken at the start. The last
    /// places are kept: droppable packets leave <see cref="KeptForReliable"/> free, reliable ones <see cref="KeptForNews"/>.
    /// </summary>
    internal sealed class EventQueue
    {
        private const int KeptForReliable = 32;
        private const int KeptForNews = 16;

        private readonly Slot[] slots;
        private int first;
        private int count;
        private bool isLent;

        internal EventQueue(int capacity, int maxPacket)
        {
            slots = new Slot[capacity];
            for (var at = 0; at < capacity; at++)
            {
                slots[at].Packet = new byte[maxPacket];
            }
        }

        /// <summary>Whether a reliable packet has room.</summary>
        internal bool HasRoom
        {
            get
            {
                lock (slots)
                {
                    return count < slots.Length - KeptForNews;
                }
            }
        }

        /// <summary>Adds a packet. False: there is no room.</summary>
        internal bool TryAddPacket(byte[] from, int at, int length, Lane lane, int path)
        {
            lock (slots)
            {
                var kept = lane == Lane.Droppable ? KeptForReliable : KeptForNews;
                if (count >= slots.Length - kept)
                {
                    return false;
                }
                var slot = (first + count) % slots.Length;
                Buffer.BlockCopy(from, at, slots[slot].Packet, 0, length);
                slots[slot].Length = length;
                slots[slot].Kind = TransportEventKind.Packet;
                slots[slot].Words = null;
                slots[slot].Lane = lane;
                slots[slot].Path = path;
                count++;
                return true;
            }
        }

        /// <summary>Adds anything but a packet. False: there is no room.</summary>
        internal bool TryAddNews(TransportEventKind kind, string words, int path)
        {
            lock (slots)
            {
                if (count >= slots.Length)
                {
                    return false;
                }
                var slot = (first + count) % slots.Length;
                slots[slot].Length = 0;
                slots[slot].Kind = kind;
                slots[slot].Words = words;
                slots[slot].Path = path;
                count++;
                return true;
            }
        }

        /// <summary>Lends the oldest event until the next call. False: there is none.</summary>
        internal bool TryTake(out TransportEvent taken)
        {
            lock (slots)
            {
                if (isLent)
                {
                    first = (first + 1) % slots.Length;
                    count--;
                    isLent = false;
                }
                if (count == 0)
                {
                    taken = default(TransportEvent);
                    return false;
                }
                isLent = true;
                var slot = slots[first];
                var packet = new ArraySegment<byte>(slot.Packet, 0, slot.Length);
                taken = new TransportEvent(slot.Kind, slot.Words, packet, slot.Lane, slot.Path);
                return true;
            }
        }

        private struct Slot
        {
            internal TransportEventKind Kind;
            internal string Words;
            internal Lane Lane;
            internal int Path;
            internal byte[] Packet;
            internal int Length;
        }
    }
}
