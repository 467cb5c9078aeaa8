using System;
using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Threading;

namespace Voxwire.Transport
{
    /// <summary>One connection to the server, from its hello to its end. Used by the network thread alone.</summary>
    internal sealed class Link : IDisposable
    {
        /// <summary>With so many bytes waiting for the system to take them, droppable packets stay in their queue, where the oldest gives way.</summary>
        private const int OutForDroppable = 16384;

        /// <summary>Likewise reliable packets, which lose none.</summary>
        private const int OutForReliable = 32768;

        /// <summary>Datagrams, or units, that are taken before something else is looked at.</summary>
        private const int Burst = 256;

        private readonly TransportSettings settings;
        private readonly Inbox inbox;
        private readonly PacketQueue reliable;
        private readonly PacketQueue droppable;
        private readonly Stopwatch clock;
        private readonly IByteChannel channel;
        private readonly IPAddress server;
        private readonly byte[] received;
        private readonly Output output;
        private readonly byte[] datagram;
        private readonly byte[] sending;
        private readonly byte[] nonce = new byte[Wire.NonceLength];
        private readonly Liveness liveness;
        private DatagramSocket socket;
        private UdpSide udp;
        private DirectPaths direct;
        private int receivedFirst;
        private int receivedCount;
        private long heardAt;
        private long downAt;
        private bool wasUp;
        private bool confirms;
        private bool isDown;
        private bool isOver;

        /// <summary>Connects by TCP, and by TLS if that is wanted.</summary>
        internal Link(TransportSettings settings, Inbox inbox, PacketQueue reliable, PacketQueue droppable, Stopwatch clock, Func<bool> isStopped)
        {
            this.settings = settings;
            this.inbox = inbox;
            this.reliable = reliable;
            this.droppable = droppable;
            this.clock = clock;
            received = new byte[Math.Max(16384, settings.MaxPacket + Wire.UnitHead)];
            output = new Output(OutForReliable + Wire.UnitHead + settings.MaxPacket, clock.ElapsedMilliseconds);
            // One byte more than any datagram that is taken: a longer one, which is cut off, shows as too long.
            datagram = new byte[Wire.DatagramHead + Wire.NumberLength + settings.MaxPacket + 1];
            sending = new byte[Wire.DatagramHead + settings.MaxPacket];
            var tcp = Connecting.Connect(settings, isStopped);
            try
            {
                server = ((IPEndPoint)tcp.RemoteEndPoint).Address;
                channel = settings.Tls == null ? (IByteChannel)new PlainChannel(tcp) : new TlsChannel(tcp, settings, isStopped);
            }
            catch
            {
                tcp.Close();
                throw;
            }
            liveness = new Liveness(new IPEndPoint(server, settings.Port));
            heardAt = clock.ElapsedMilliseconds;
        }

        private bool WantsUdp
        {
            get { return settings.Udp && (settings.Tls == null || settings.Tls.ClearUdp); }
        }

        /// <summary>Says hello, and opens the UDP side.</summary>
        internal void Greet(Func<bool> isStopped, Func<int> newPath, Action isAdmitted)
        {
            output.Put(Wire.ClientHello(WantsUdp, WantsUdp && settings.Direct, settings.Token));
            var answer = ReadHello(isStopped);
            if (!answer.Admitted)
            {
                throw new TransportException("the server does not admit this client: it asks for another token", true);
            }
            isAdmitted();
            inbox.News(TransportEventKind.Connected, "connected to " + settings.Host + ":" + settings.Port);
            if (!WantsUdp)
            {
                inbox.News(TransportEventKind.UdpOff, settings.Tls == null ? "voice goes by TCP, as set" : "voice stays on TLS");
            }
            else if (answer.UdpPort == 0)
            {
                inbox.News(TransportEventKind.UdpOff, "the server has no UDP: voice goes by TCP, later than it might");
            }
            else
            {
                OpenUdp(answer, newPath);
            }
        }

        /// <summary>Does all that can be done without waiting. False: that is nothing.</summary>
        internal bool Turn()
        {
            var now = clock.ElapsedMilliseconds;
            var did = ReadUnits(now);
            if (udp != null)
            {
                udp.Probe(now);
                did |= ReadDatagrams(now);
                JudgeUdp(now);
                JudgeTcp(now);
                if (direct != null && !udp.IsExcused(now))
                {
                    direct.Expire(now);
                }
            }
            did |= SendReliable(now);
            did |= SendDroppable(now);
            WriteOutput(now);
            // What came in before the end has been read.
            if (isOver && !did)
            {
                throw new TransportException("the server has closed the connection");
            }
            return did;
        }

        /// <summary>Waits until something has come in, for a tick at most.</summary>
        internal void Wait()
        {
            if (!inbox.HasRoom)
            {
                // What has come in by TCP stays there, and would end any wait for more at once.
                Thread.Sleep(settings.Tick);
            }
            else if (socket == null)
            {
                channel.Wait(settings.Tick);
            }
            else
            {
                socket.Wait(settings.Tick);
            }
        }

        public void Dispose()
        {
            if (direct != null)
            {
                direct.End();
            }
            if (udp != null)
            {
                udp.Dispose();
            }
            if (socket != null)
            {
                socket.Dispose();
            }
            liveness.Dispose();
            channel.Dispose();
        }

        private ServerHello ReadHello(Func<bool> isStopped)
        {
            var start = clock.ElapsedMilliseconds;
            while (receivedCount < Wire.ServerHelloLength)
            {
                var read = Exchange();
                if (Wire.IsTlsAlert(received, receivedCount))
                {
                    throw new TransportException("the server speaks TLS, and this client does not: set Tls");
                }
                if (!Wire.MayBeHello(received, receivedCount))
                {
                    throw new TransportException("what answers is no server of this kind: is this its port for Dissonance?");
                }
                if (read < 0)
                {
                    throw new TransportException("the server has closed the connection without an answer: it is full, or this is not its port for Dissonance");
                }
                if (read == 0)
                {
                    channel.Wait(20);
                }
                if (isStopped() || clock.ElapsedMilliseconds - start > settings.ConnectTimeout)
                {
                    throw new TransportException("the server has not answered within " + settings.ConnectTimeout / 1000.0 + " s");
                }
            }
            var hello = Wire.ReadServerHello(received);
            Consume(Wire.ServerHelloLength);
            return hello;
        }

        /// <summary>Sends the hello and reads its answer, as far as that goes. Returns what <see cref="Receive"/> returns.</summary>
        private int Exchange()
        {
            // A server that is full resets the connection, since it has not read the hello.
            var isClosed = false;
            try
            {
                WriteOutput(clock.ElapsedMilliseconds);
            }
            catch (TransportException error) when (error.IsClosed)
            {
                // What it said before may still be there.
                isClosed = true;
            }
            try
            {
                var read = Receive();
                return read == 0 && isClosed ? -1 : read;
            }
            catch (TransportException error) when (error.IsClosed)
            {
                return -1;
            }
        }

        private void OpenUdp(ServerHello hello, Func<int> newPath)
        {
            try
            {
                socket = new DatagramSocket(new IPEndPoint(server, hello.UdpPort), settings.Direct);
            }
            catch (SocketException error)
            {
                var words = "this system does not let UDP out (" + error.SocketErrorCode + "): voice goes by TCP, later than it might";
                inbox.News(TransportEventKind.UdpOff, words);
                return;
            }
            udp = new UdpSide(socket, hello, clock.ElapsedMilliseconds);
            if (settings.Direct)
            {
                direct = new DirectPaths(socket, inbox, newPath);
            }
        }

        /// <summary>Reads what has come in by TCP, as long as the application has room for it.</summary>
        private bool ReadUnits(long now)
        {
            var did = false;
            for (var units = 0; units < Burst; units++)
            {
                if (!inbox.HasRoom)
                {
                    return did;
                }
                var length = NextUnit();
                if (length > 0)
                {
                    OnUnit(received[receivedFirst + 2], receivedFirst + Wire.UnitHead, length - 1, now);
                    Consume(2 + length);
                    did = true;
                    continue;
                }
                var read = isOver ? 0 : Receive();
                isOver |= read < 0;
                if (read <= 0)
                {
                    return did;
                }
                heardAt = now;
                did = true;
            }
            return did;
        }

        /// <summary>The length of the unit that has been received as a whole; 0 if there is none.</summary>
        private int NextUnit()
        {
            if (receivedCount < 2)
            {
                return 0;
            }
            var length = Wire.ReadU16(received, receivedFirst);
            if (length == 0 || length - 1 > settings.MaxPacket)
            {
                throw new TransportException("the server sent a unit of " + length + " bytes, " + (settings.MaxPacket + 1) + " at most are possible");
            }
            return receivedCount < 2 + length ? 0 : length;
        }

        private void OnUnit(byte kind, int at, int length, long now)
        {
            if (kind == Wire.UnitControl)
            {
                OnControl(at, length, now);
                return;
            }
            inbox.Counters.ReceivedByTcp++;
            inbox.Packet(received, at, length, kind == Wire.UnitDroppable ? Lane.Droppable : Lane.Reliable, 0);
        }

        private void OnControl(int at, int length, long now)
        {
            if (length == 0 || udp == null)
            {
                return;
            }
            switch (received[at])
            {
                case Wire.Bound:
                    wasUp = true;
                    liveness.OnBound();
                    if (udp.OnBound(now))
                    {
                        var clear = settings.Tls == null ? "" : " and is not encrypted: TLS covers the rest alone";
                        inbox.News(TransportEventKind.UdpUp, "voice goes by UDP" + clear);
                    }
                    break;
                case Wire.Peer:
                    if (direct != null)
                    {
                        direct.OnPeer(received, at + 1, length - 1, now);
                    }
                    break;
                case Wire.Gone:
                    if (direct != null)
                    {
                        direct.OnGone(received, at + 1, length - 1);
                    }
                    break;
            }
        }

        /// <summary>Reads what has come in behind what is there. Returns what the channel returns.</summary>
        private int Receive()
        {
            Buffer.BlockCopy(received, receivedFirst, received, 0, receivedCount);
            receivedFirst = 0;
            var read = channel.Read(received, receivedCount, received.Length - receivedCount);
            receivedCount += Math.Max(read, 0);
            return read;
        }

        private void Consume(int length)
        {
            receivedFirst += length;
            receivedCount -= length;
        }

        private bool ReadDatagrams(long now)
        {
            for (var datagrams = 0; datagrams < Burst; datagrams++)
            {
                var length = socket.Receive(datagram);
                if (length < 0)
                {
                    return datagrams > 0;
                }
                if (!socket.IsFromServer)
                {
                    direct.OnDatagram(datagram, length, now);
                    continue;
                }
                switch (udp.OnDatagram(datagram, length, now))
                {
                    case Wire.Data:
                        OnData(length - Wire.DatagramHead);
                        break;
                    case Wire.Challenge:
                        Buffer.BlockCopy(datagram, Wire.DatagramHead, nonce, 0, Wire.NonceLength);
                        confirms = true;
                        liveness.OnConfirm(now);
                        break;
                }
            }
            return true;
        }

        private void OnData(int length)
        {
            inbox.Counters.ReceivedByUdp++;
            inbox.Packet(datagram, Wire.DatagramHead, length, Lane.Droppable, 0);
        }

        /// <summary>While UDP does not get through, TCP may not get through either.</summary>
        private void JudgeTcp(long now)
        {
            if (udp.State == UdpState.Up || udp.IsExcused(now))
            {
                return;
            }
            var why = liveness.Judge(now, Math.Max(heardAt, downAt), wasUp);
            if (why != null)
            {
                throw new TransportException(why);
            }
        }

        private void JudgeUdp(long now)
        {
            bool isNews;
            if (!udp.Judge(now, out isNews))
            {
                return;
            }
            isDown |= isNews;
            downAt = now;
            var way = settings.Fallback ? "Voice goes by TCP, later than it might" : "Voice is dropped";
            inbox.News(TransportEventKind.UdpBlocked, "UDP is blocked: " + settings.Host + " does not answer by UDP. " + way);
        }

        private bool SendReliable(long now)
        {
            var did = false;
            while (output.Count < OutForReliable)
            {
                int path;
                var length = reliable.Take(sending, Wire.DatagramHead, out path);
                if (length < 0)
                {
                    break;
                }
                did = true;
                if (path == 0)
                {
                    output.PutUnit(Wire.UnitReliable, sending, Wire.DatagramHead, length);
                    inbox.Counters.SentByTcp++;
                }
                else
                {
                    SendDirectly(path, Lane.Reliable, length, now);
                }
            }
            return did;
        }

        private bool SendDroppable(long now)
        {
            var did = false;
            var byUdp = udp != null && udp.State == UdpState.Up;
            var byTcp = !byUdp && (udp == null || settings.Fallback);
            while (!byTcp || output.Count < OutForDroppable)
            {
                int path;
                var length = droppable.Take(sending, Wire.DatagramHead, out path);
                if (length < 0)
                {
                    break;
                }
                did = true;
                if (path != 0)
                {
                    SendDirectly(path, Lane.Droppable, length, now);
                }
                else if (byTcp)
                {
                    output.PutUnit(Wire.UnitDroppable, sending, Wire.DatagramHead, length);
                    inbox.Counters.SentByTcp++;
                }
                else
                {
                    Count(byUdp && udp.Send(sending, length), ref inbox.Counters.SentByUdp);
                }
            }
            return did;
        }

        private void SendDirectly(int path, Lane lane, int length, long now)
        {
            Count(direct != null && direct.Send(path, lane, sending, length, now), ref inbox.Counters.SentDirectly);
        }

        private void Count(bool wasSent, ref long sent)
        {
            if (wasSent)
            {
                sent++;
            }
            else
            {
                inbox.Counters.DroppedOut++;
            }
        }

        /// <summary>Hands the system what it takes. Controls go as soon as they fit.</summary>
        private void WriteOutput(long now)
        {
            if (isDown && output.HasRoomForControl)
            {
                isDown = false;
                output.PutControl(Wire.Down, nonce, 0);
            }
            if (confirms && output.HasRoomForControl)
            {
                confirms = false;
                output.PutControl(Wire.Confirm, nonce, Wire.NonceLength);
            }
            output.Write(channel, now);
        }
    }
}
