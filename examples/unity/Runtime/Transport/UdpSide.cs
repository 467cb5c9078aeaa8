using System;
using System.Security.Cryptography;

namespace Voxwire.Transport
{
    /// <summary>Where the UDP side of a connection stands.</summary>
    internal enum UdpState
    {
        /// <summary>The server is asked to bind the address.</summary>
        Binding,

        /// <summary>Droppable packets go by UDP.</summary>
        Up,

        /// <summary>The server does not answer. It is asked all the same.</summary>
        Blocked,
    }

    /// <summary>Binding, probing, and falling back: section 4 of transport/PROTOCOL.md. Times are in milliseconds.</summary>
    internal sealed class UdpSide : IDisposable
    {
        private const int ProbeInterval = 500;

        /// <summary>When to send a BIND again that the system did not take.</summary>
        private const int Soon = 50;

        /// <summary>PINGs in a row without a PONG, and the time without one: then UDP is blocked.</summary>
        private const int Missed = 3;
        private const int PathTimeout = 1500;

        /// <summary>For how long BINDs go unanswered before UDP counts as blocked.</summary>
        private const int Unanswered = 3000;

        /// <summary>A beat so much behind its time shows that this thread did not run. Nothing counts as missing for as long.</summary>
        private const int Late = 100;

        /// <summary>PINGs that a PONG may still answer: those of four seconds.</summary>
        private const int Probes = 8;

        private readonly DatagramSocket socket;
        private readonly byte[] tag;
        private readonly byte[] bind;
        private readonly byte[] ping = new byte[Wire.DatagramHead + Wire.NonceLength];
        private readonly RandomNumberGenerator random = RandomNumberGenerator.Create();
        private readonly byte[] nonce = new byte[Wire.NonceLength];
        private readonly byte[] probes = new byte[Probes * Wire.NonceLength];
        private int firstProbe;
        private int probeCount;
        private int unanswered;
        private long nextProbe;
        private long proven;
        private long excusedUntil;
        private bool isSilent;

        internal UdpSide(DatagramSocket socket, ServerHello hello, long now)
        {
            this.socket = socket;
            tag = hello.Tag;
            bind = new byte[Wire.DatagramHead + Wire.CookieLength];
            Wire.WriteDatagramHead(bind, Wire.Bind, tag);
            hello.Cookie.CopyTo(bind, Wire.DatagramHead);
            Wire.WriteDatagramHead(ping, Wire.Ping, tag);
            nextProbe = now;
            proven = now;
        }

        public void Dispose()
        {
            random.Dispose();
        }

        internal UdpState State { get; private set; }

        /// <summary>Whether this thread has not run for some time, so that nothing counts as missing yet.</summary>
        internal bool IsExcused(long now)
        {
            return now < excusedUntil;
        }

        /// <summary>Sends a packet that stands behind <see cref="Wire.DatagramHead"/> free bytes. False: it is lost.</summary>
        internal bool Send(byte[] datagram, int length)
        {
            Wire.WriteDatagramHead(datagram, Wire.Data, tag);
            return socket.Send(datagram, Wire.DatagramHead + length);
        }

        /// <summary>The server says that it has bound the address. True: that is news.</summary>
        internal bool OnBound(long now)
        {
            proven = now;
            nextProbe = now;
            isSilent = false;
            probeCount = 0;
            unanswered = 0;
            var isNews = State != UdpState.Up;
            State = UdpState.Up;
            return isNews;
        }

        /// <summary>Sends a BIND or a PING if it is time. What has come in is read after that, and before <see cref="Judge"/>.</summary>
        internal void Probe(long now)
        {
            if (now - nextProbe > Late)
            {
                excusedUntil = now + Late;
            }
            if (now < nextProbe)
            {
                return;
            }
            nextProbe = now + ProbeInterval;
            if (State == UdpState.Up)
            {
                isSilent = probeCount >= Missed && now - proven > PathTimeout && !IsExcused(now);
                SendPing();
                return;
            }
            isSilent = State == UdpState.Binding && unanswered >= Unanswered && !IsExcused(now);
            var wait = socket.Send(bind, bind.Length) ? ProbeInterval : Soon;
            nextProbe = now + wait;
            unanswered += wait;
        }

        /// <summary>
        /// A datagram has come from the server. Returns its kind if it concerns the caller: <see cref="Wire.Data"/> holds a packet,
        /// <see cref="Wire.Challenge"/> is to be confirmed by TCP. Otherwise 0.
        /// </summary>
        internal byte OnDatagram(byte[] datagram, int length, long now)
        {
            if (length < Wire.DatagramHead || !Wire.HasTag(datagram, tag))
            {
                return 0;
            }
            var body = length - Wire.DatagramHead;
            switch (datagram[0])
            {
                case Wire.Data:
                    return State == UdpState.Up ? Wire.Data : (byte)0;
                case Wire.Pong:
                    if (body == Wire.NonceLength)
                    {
                        OnPong(datagram, now);
                    }
                    return 0;
                case Wire.Challenge:
                    if (State == UdpState.Up || body < Wire.NonceLength)
                    {
                        return 0;
                    }
                    unanswered = 0;
                    isSilent = false;
                    return Wire.Challenge;
                default:
                    return 0;
            }
        }

        /// <summary>True: UDP counts as blocked from now on. <paramref name="wasUp"/>: it was not before.</summary>
        internal bool Judge(long now, out bool wasUp)
        {
            wasUp = State == UdpState.Up;
            if (!isSilent)
            {
                return false;
            }
            isSilent = false;
            State = UdpState.Blocked;
            probeCount = 0;
            if (wasUp)
            {
                nextProbe = now;
            }
            return true;
        }

        private void SendPing()
        {
            random.GetBytes(nonce);
            if (probeCount == Probes)
            {
                firstProbe = (firstProbe + 1) % Probes;
                probeCount--;
            }
            var slot = (firstProbe + probeCount) % Probes;
            Buffer.BlockCopy(nonce, 0, probes, slot * Wire.NonceLength, Wire.NonceLength);
            probeCount++;
            Buffer.BlockCopy(nonce, 0, ping, Wire.DatagramHead, Wire.NonceLength);
            socket.Send(ping, ping.Length);
        }

        /// <summary>Each PING counts once; those before the answered one do not count any more.</summary>
        private void OnPong(byte[] datagram, long now)
        {
            for (var at = 0; at < probeCount; at++)
            {
                var slot = (firstProbe + at) % Probes;
                if (Wire.Same(datagram, Wire.DatagramHead, probes, slot * Wire.NonceLength, Wire.NonceLength))
                {
                    firstProbe = (slot + 1) % Probes;
                    probeCount -= at + 1;
                    proven = now;
                    isSilent = false;
                    return;
                }
            }
        }
    }
}
