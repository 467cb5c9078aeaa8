using System;
using System.Collections.Generic;
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;

namespace Voxwire.Transport
{
    /// <summary>All direct paths of a connection.</summary>
    internal sealed class DirectPaths
    {
        private const int MaxPaths = 32;

        private readonly List<DirectPath> paths = new List<DirectPath>();
        private readonly DatagramSocket socket;
        private readonly Inbox inbox;
        private readonly RandomNumberGenerator random = RandomNumberGenerator.Create();
        private readonly Func<uint> newEpoch;
        private readonly Func<int> newNumber;

        internal DirectPaths(DatagramSocket socket, Inbox inbox, Func<int> newNumber)
        {
            this.socket = socket;
            this.inbox = inbox;
            this.newNumber = newNumber;
            newEpoch = () =>
            {
                var bytes = new byte[4];
                random.GetBytes(bytes);
                return Wire.ReadU32(bytes, 0);
            };
        }

        /// <summary>The server says where another client is: a PEER, without its first byte.</summary>
        internal void OnPeer(byte[] from, int at, int length, long now)
        {
            IPEndPoint address;
            if (!TryReadAddress(from, at + Wire.KeyLength, length - Wire.KeyLength, out address) || paths.Count >= MaxPaths)
            {
                return;
            }
            var to = new DatagramAddress(address);
            foreach (var path in paths)
            {
                if (path.HasKey(from, at) && path.To.IsSame(to))
                {
                    return;
                }
            }
            paths.Add(new DirectPath(socket, newEpoch, Wire.Slice(from, at, Wire.KeyLength), to, now));
        }

        /// <summary>The server says that another client has left: a GONE, without its first byte.</summary>
        internal void OnGone(byte[] from, int at, int length)
        {
            for (var index = 0; length >= Wire.KeyLength && index < paths.Count; index++)
            {
                if (paths[index].HasKey(from, at))
                {
                    var number = paths[index].Number;
                    paths.RemoveAt(index);
                    if (number != 0)
                    {
                        Down(number);
                    }
                    return;
                }
            }
        }

        /// <summary>Sends a packet that stands behind <see cref="Wire.DatagramHead"/> free bytes. False: it is lost.</summary>
        internal bool Send(int number, Lane lane, byte[] datagram, int length, long now)
        {
            foreach (var path in paths)
            {
                if (path.Number == number)
                {
                    return lane == Lane.Droppable
                        ? path.SendDroppable(datagram, length)
                        : path.SendReliable(datagram, Wire.DatagramHead, length, now);
                }
            }
            return false;
        }

        /// <summary>Does what is due on all paths.</summary>
        internal void Expire(long now)
        {
            foreach (var path in paths)
            {
                var number = path.Number;
                if (path.Expire(now))
                {
                    Down(number);
                }
            }
        }

        /// <summary>All paths end with the connection.</summary>
        internal void End()
        {
            foreach (var path in paths)
            {
                if (path.Number != 0)
                {
                    Down(path.Number);
                }
            }
            paths.Clear();
            random.Dispose();
        }

        /// <summary>A datagram of another client, or of none.</summary>
        internal void OnDatagram(byte[] datagram, int length, long now)
        {
            if (length < Wire.DatagramHead)
            {
                return;
            }
            if (datagram[0] == Wire.Probe)
            {
                OnProbe(datagram, length, now);
                return;
            }
            foreach (var path in paths)
            {
                if (path.HasTag(datagram) && path.To.IsSame(socket.From))
                {
                    OnDatagram(path, datagram, length, now);
                    return;
                }
            }
        }

        private void OnProbe(byte[] datagram, int length, long now)
        {
            foreach (var path in paths)
            {
                if (path.IsProbe(datagram, length))
                {
                    var number = path.Number;
                    if (path.OnProbe(datagram, socket.From, now))
                    {
                        Down(number);
                    }
                    return;
                }
            }
        }

        private void OnDatagram(DirectPath path, byte[] datagram, int length, long now)
        {
            switch (datagram[0])
            {
                case Wire.ProbeAck:
                    OnProbeAck(path, datagram, length, now);
                    break;
                case Wire.PathDroppable:
                    if (path.Number != 0)
                    {
                        inbox.Packet(datagram, Wire.DatagramHead, length - Wire.DatagramHead, Lane.Droppable, path.Number);
                    }
                    break;
                case Wire.PathReliable:
                    var start = path.OnReliable(datagram, length);
                    // Without room it is not acknowledged, and comes again.
                    if (start >= 0 && inbox.Packet(datagram, start, length - start, Lane.Reliable, path.Number))
                    {
                        path.Acknowledge(datagram);
                    }
                    break;
                case Wire.PathReliableAck:
                    path.OnReliableAck(datagram, length, now);
                    break;
            }
        }

        private void OnProbeAck(DirectPath path, byte[] datagram, int length, long now)
        {
            var number = path.Number;
            switch (path.OnProbeAck(datagram, length, newNumber, now))
            {
                case PathNews.Up:
                    inbox.News(TransportEventKind.PathUp, "another player is reached directly, at " + path.To, path.Number);
                    break;
                case PathNews.Down:
                    Down(number);
                    break;
            }
        }

        private void Down(int number)
        {
            inbox.News(TransportEventKind.PathDown, "another player is not reached directly any more", number);
        }

        private bool TryReadAddress(byte[] from, int at, int length, out IPEndPoint address)
        {
            address = null;
            if (length != 2 + 4 && length != 2 + 16)
            {
                return false;
            }
            var ip = new IPAddress(Wire.Slice(from, at + 2, length - 2));
            if (ip.AddressFamily != socket.Family)
            {
                if (socket.Family != AddressFamily.InterNetwork || !ip.IsIPv4MappedToIPv6)
                {
                    return false;
                }
                ip = ip.MapToIPv4();
            }
            address = new IPEndPoint(ip, Wire.ReadU16(from, at));
            return true;
        }
    }
}
