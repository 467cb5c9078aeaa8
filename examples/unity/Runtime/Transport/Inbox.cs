using System;
using System.Threading;

namespace Voxwire.Transport
{
    /// <summary>What the network thread tells the application, and counts.</summary>
    internal sealed class Inbox
    {
        private readonly EventQueue events;
        private readonly int maxPacket;
        private readonly Func<bool> isStopped;
        internal TransportStatistics Counters;

        internal Inbox(EventQueue events, int maxPacket, Func<bool> isStopped)
        {
            this.events = events;
            this.maxPacket = maxPacket;
            this.isStopped = isStopped;
        }

        /// <summary>Whether a reliable packet has room.</summary>
        internal bool HasRoom
        {
            get { return events.HasRoom; }
        }

        /// <summary>A packet has come in. False: there is no room for it, or it is longer than packets are.</summary>
        internal bool Packet(byte[] from, int at, int length, Lane lane, int path)
        {
            if (length > maxPacket)
            {
                return false;
            }
            if (events.TryAddPacket(from, at, length, lane, path))
            {
                if (path != 0)
                {
                    Counters.ReceivedDirectly++;
                }
                return true;
            }
            if (lane == Lane.Droppable)
            {
                Counters.DroppedIn++;
            }
            return false;
        }

        /// <summary>Something has happened. Waits for room: an application that takes nothing has nothing to hear from the network either.</summary>
        internal void News(TransportEventKind kind, string words, int path = 0)
        {
            while (!events.TryAddNews(kind, words, path) && !isStopped())
            {
                Thread.Sleep(5);
            }
        }
    }
}
