using System;

namespace Voxwire.Transport
{
    /// <summary>One direct path to another client: section 6 of transport/PROTOCOL.md. Times are in milliseconds.</summary>
    internal sealed class DirectPath
    {
        private const int ProbeInterval = 250;

        /// <summary>Probes at that interval without any ack, before they come at the slow one.</summary>
        private const int ProbesInARow = 20;
        private const int SlowProbeInterval = 2000;

        /// <summary>A path is down without a probe ack for so long.</summary>
        private const int PathTimeout = 800;

        /// <summary>How soon a path is probed from which a probe has just come in.</summary>
        private const int Soon = 50;

        /// <summary>Reliable packets that have not been acknowledged.</summary>
        private const int MaxUnacked = 64;

        private const int KeyRest = Wire.KeyLength - Wire.TagLength;

        private readonly DatagramSocket socket;
        private readonly Func<uint> newEpoch;
        private readonly byte[] key;
        private readonly byte[] tag;
        private readonly byte[] small = new byte[Wire.ProbeLength];
        private readonly Unacked unacked = new Unacked(MaxUnacked);
        private uint epoch;
        private uint theirs;
        private bool knowsTheirs;
        private long ackedAt;
        private long nextProbe;
        private long nextSend;
        private int probes;
        private int sent;
        private int received;

        internal DirectPath(DatagramSocket socket, Func<uint> newEpoch, byte[] key, DatagramAddress to, long now)
        {
            this.socket = socket;
            this.newEpoch = newEpoch;
            this.key = key;
            tag = Wire.Slice(key, 0, Wire.TagLength);
            To = to;
            epoch = newEpoch();
            ackedAt = now;
            nextProbe = now;
        }

        /// <summary>The number of the path while it is up, otherwise 0.</summary>
        internal int Number { get; private set; }

        /// <summary>Where the other client is.</summary>
        internal DatagramAddress To { get; private set; }

        internal bool HasKey(byte[] from, int at)
        {
            return Wire.Same(key, 0, from, at, Wire.KeyLength);
        }

        /// <summary>Whether this datagram, which is none of the server's, begins with the path's tag.</summary>
        internal bool HasTag(byte[] datagram)
        {
            return Wire.HasTag(datagram, tag);
        }

        /// <summary>Whether this PROBE has the path's key.</summary>
        internal bool IsProbe(byte[] datagram, int length)
        {
            return length >= Wire.ProbeLength && HasTag(datagram) && HasRestOfKey(datagram);
        }

        /// <summary>Sends a packet that stands behind <see cref="Wire.DatagramHead"/> free bytes. False: it is lost.</summary>
        internal bool SendDroppable(byte[] datagram, int length)
        {
            Wire.WriteDatagramHead(datagram, Wire.PathDroppable, tag);
            return socket.SendTo(datagram, Wire.DatagramHead + length, To);
        }

        /// <summary>Sends a packet until it is acknowledged. False: too many wait.</summary>
        internal bool SendReliable(byte[] from, int at, int length, long now)
        {
            if (!unacked.TryAdd(from, at, length))
            {
                return false;
            }
            if (unacked.Count == 1)
            {
                SendFirst(now);
            }
            return true;
        }

        /// <summary>Does what is due. True: the path is down.</summary>
        internal bool Expire(long now)
        {
            if (Number != 0 && now - ackedAt >= PathTimeout)
            {
                Reset(now);
                return true;
            }
            if (now >= nextProbe)
            {
                SendProbe(now);
            }
            if (unacked.Count > 0 && now >= nextSend)
            {
                SendFirst(now);
            }
            return false;
        }

        /// <summary>A PROBE with this path's key has come in. True: it shows that the other side has lost the path that was up.</summary>
        internal bool OnProbe(byte[] datagram, DatagramAddress from, long now)
        {
            if (Number == 0 && !from.IsSame(To))
            {
                // A NAT may have given it another port than the server saw.
                To = from.Copy();
            }
            var shown = Wire.ReadU32(datagram, Wire.DatagramHead + KeyRest);
            var wasUp = knowsTheirs && shown != theirs && Number != 0;
            if (knowsTheirs && shown != theirs)
            {
                Reset(now);
            }
            theirs = shown;
            knowsTheirs = true;
            socket.SendTo(small, Wire.WriteProbe(small, Wire.ProbeAck, key, shown, epoch), from);
            if (Number == 0)
            {
                nextProbe = Math.Min(nextProbe, now + Soon);
            }
            return wasUp;
        }

        /// <summary>A PROBE_ACK has come in from <see cref="To"/>. The path may be up then, or lost.</summary>
        internal PathNews OnProbeAck(byte[] datagram, int length, Func<int> newNumber, long now)
        {
            if (length < Wire.ProbeLength || !HasRestOfKey(datagram) || Wire.ReadU32(datagram, Wire.DatagramHead + KeyRest) != epoch)
            {
                return PathNews.None;
            }
            var shown = Wire.ReadU32(datagram, Wire.DatagramHead + KeyRest + 4);
            var isOther = Number != 0 && (!knowsTheirs || shown != theirs);
            if (isOther)
            {
                Reset(now);
            }
            theirs = shown;
            knowsTheirs = true;
            if (isOther)
            {
                return PathNews.Down;
            }
            ackedAt = now;
            if (Number != 0)
            {
                return PathNews.None;
            }
            Number = newNumber();
            probes = 0;
            return PathNews.Up;
        }

        /// <summary>
        /// A RELIABLE has come in from <see cref="To"/>. Returns where its packet begins; -1: it is not new, or not for this path.
        /// It has to be acknowledged, by <see cref="Acknowledge"/>, once the packet has been taken.
        /// </summary>
        internal int OnReliable(byte[] datagram, int length)
        {
            var body = Wire.DatagramHead;
            if (length < body + Wire.NumberLength || Number == 0 || !knowsTheirs || Wire.ReadU32(datagram, body) != theirs)
            {
                return -1;
            }
            var number = Wire.ReadU16(datagram, body + 4);
            if (number == received)
            {
                return body + Wire.NumberLength;
            }
            if (((received - number) & 0xffff) <= 0x7fff)
            {
                // It has come in before, and the ack may have been lost.
                SendAck(datagram);
            }
            return -1;
        }

        /// <summary>The packet of this RELIABLE has been taken.</summary>
        internal void Acknowledge(byte[] datagram)
        {
            SendAck(datagram);
            received = (received + 1) & 0xffff;
        }

        /// <summary>A RELIABLE_ACK has come in from <see cref="To"/>.</summary>
        internal void OnReliableAck(byte[] datagram, int length, long now)
        {
            var body = Wire.DatagramHead;
            if (length != body + Wire.NumberLength || unacked.Count == 0)
            {
                return;
            }
            if (Wire.ReadU32(datagram, body) == epoch && Wire.ReadU16(datagram, body + 4) == sent)
            {
                unacked.RemoveFirst();
                sent = (sent + 1) & 0xffff;
                if (unacked.Count > 0)
                {
                    SendFirst(now);
                }
            }
        }

        private bool HasRestOfKey(byte[] datagram)
        {
            return Wire.Same(datagram, Wire.DatagramHead, key, Wire.TagLength, KeyRest);
        }

        /// <summary>The path is down. The other side notices by the epoch.</summary>
        private void Reset(long now)
        {
            Number = 0;
            epoch = newEpoch();
            knowsTheirs = false;
            unacked.Clear();
            sent = 0;
            received = 0;
            probes = 0;
            nextProbe = now;
        }

        private void SendProbe(long now)
        {
            probes = Math.Min(probes + 1, ProbesInARow + 1);
            nextProbe = now + (Number == 0 && probes > ProbesInARow ? SlowProbeInterval : ProbeInterval);
            socket.SendTo(small, Wire.WriteProbe(small, Wire.Probe, key, epoch, 0), To);
        }

        private void SendFirst(long now)
        {
            nextSend = now + ProbeInterval;
            var datagram = unacked.First;
            Wire.WriteDatagramHead(datagram, Wire.PathReliable, tag);
            Wire.WriteNumber(datagram, epoch, sent);
            socket.SendTo(datagram, unacked.FirstLength, To);
        }

        private void SendAck(byte[] datagram)
        {
            Wire.WriteDatagramHead(small, Wire.PathReliableAck, tag);
            Buffer.BlockCopy(datagram, Wire.DatagramHead, small, Wire.DatagramHead, Wire.NumberLength);
            socket.SendTo(small, Wire.DatagramHead + Wire.NumberLength, To);
        }
    }

    /// <summary>
    /// Packets that wait for their ack, each with room for what stands before it in a RELIABLE. The memory of one serves the next in its
    /// place.
    /// </summary>
    internal sealed class Unacked
    {
        private const int Head = Wire.DatagramHead + Wire.NumberLength;

        private readonly byte[][] datagrams;
        private readonly int[] lengths;
        private int first;

        internal Unacked(int capacity)
        {
            datagrams = new byte[capacity][];
            lengths = new int[capacity];
        }

        internal int Count { get; private set; }

        /// <summary>The datagram of the oldest packet.</summary>
        internal byte[] First
        {
            get { return datagrams[first]; }
        }

        internal int FirstLength
        {
            get { return lengths[first]; }
        }

        /// <summary>False: too many wait.</summary>
        internal bool TryAdd(byte[] from, int at, int length)
        {
            if (Count == datagrams.Length)
            {
                return false;
            }
            var slot = (first + Count) % datagrams.Length;
            if (datagrams[slot] == null || datagrams[slot].Length < Head + length)
            {
                datagrams[slot] = new byte[Head + length];
            }
            Buffer.BlockCopy(from, at, datagrams[slot], Head, length);
            lengths[slot] = Head + length;
            Count++;
            return true;
        }

        internal void RemoveFirst()
        {
            Count--;
            // From the beginning again where that is possible, so that few places take memory.
            first = Count == 0 ? 0 : (first + 1) % datagrams.Length;
        }

        internal void Clear()
        {
            Count = 0;
            first = 0;
        }
    }

    /// <summary>What a datagram shows of a path.</summary>
    internal enum PathNews
    {
        None,
        Up,
        Down,
    }
}
