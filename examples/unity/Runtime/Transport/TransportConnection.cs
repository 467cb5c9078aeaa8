using System;
using System.Diagnostics;
using System.Net.Sockets;
using System.Threading;

namespace Voxwire.Transport
{
    /// <summary>
    /// A connection to a voxwire server by TCP and UDP. A thread of its own does all of the network's work; TLS takes one more. The methods
    /// never wait, and allocate nothing.
    /// </summary>
    /// <example>
    /// <code>
    /// using (var connection = new TransportConnection(new TransportSettings { Host = "voice.example" }))
    /// {
    ///     connection.Start();
    ///     // Now and then, on one thread:
    ///     TransportEvent happened;
    ///     while (connection.TryReceive(out happened)) { .. }
    /// }
    /// </code>
    /// </example>
    public sealed class TransportConnection : IDisposable
    {
        private const int FirstBackoff = 500;
        private const int LongestBackoff = 3000;

        private readonly TransportSettings settings;
        private readonly EventQueue events;
        private readonly PacketQueue reliable;
        private readonly PacketQueue droppable;
        private readonly Inbox inbox;
        private readonly Stopwatch clock = Stopwatch.StartNew();
        private readonly Random random = new Random();
        private readonly Thread thread;
        private long replaced;
        private int lastPath;
        private volatile bool isStopped;
        private volatile bool isConnected;

        /// <summary>Called by the network thread after each turn: for measurements.</summary>
        internal Action AfterTurn;

        /// <summary>Takes all memory that packets need. Nothing is connected before <see cref="Start"/>.</summary>
        /// <exception cref="ArgumentException">A setting is out of its range.</exception>
        /// <exception cref="FormatException">A pinned fingerprint is none.</exception>
        public TransportConnection(TransportSettings settings)
        {
            settings = settings.Copy();
            this.settings = settings;
            Check(settings.MaxPacket >= 1 && settings.MaxPacket <= 65534, "MaxPacket", "1 to 65534");
            Check(settings.ReceiveQueue >= 64, "ReceiveQueue", "at least 64");
            Check(settings.SendQueue >= 8, "SendQueue", "at least 8");
            Check(settings.ConnectTimeout >= 100, "ConnectTimeout", "at least 100");
            Check(settings.Tick >= 1 && settings.Tick <= 50, "Tick", "1 to 50");
            Check(settings.Token != null && settings.Token.Length <= Wire.MaxToken, "Token", "at most 1024 bytes");
            Check(!string.IsNullOrEmpty(settings.Host), "Host", "a name or an address");
            Check(settings.Port >= 1 && settings.Port <= 65535, "Port", "1 to 65535");
            if (settings.Tls != null)
            {
                // Throws for what is no fingerprint.
                settings.Tls.PinnedSha256.ForEach(pinned => Certificates.Normalized(pinned));
            }
            events = new EventQueue(settings.ReceiveQueue, settings.MaxPacket);
            reliable = new PacketQueue(settings.SendQueue, settings.MaxPacket);
            droppable = new PacketQueue(settings.SendQueue, settings.MaxPacket);
            inbox = new Inbox(events, settings.MaxPacket, () => isStopped);
            thread = new Thread(Run) { IsBackground = true, Name = "Voxwire" };
        }

        /// <summary>Whether the server has admitted this client, and the connection is there.</summary>
        public bool IsConnected
        {
            get { return isConnected; }
        }

        /// <summary>Whether the network thread is at work: for tests.</summary>
        internal bool IsRunning
        {
            get { return thread.IsAlive; }
        }

        /// <summary>Counters since the start. They may be behind by a turn of the network thread.</summary>
        public TransportStatistics Statistics
        {
            get
            {
                var counters = inbox.Counters;
                counters.DroppedOut += Interlocked.Read(ref replaced);
                return counters;
            }
        }

        /// <summary>Begins to connect. To be called once.</summary>
        public void Start()
        {
            thread.Start();
        }

        /// <summary>
        /// Takes the next event, if there is one. Its packet is valid until the next call. To be called by one thread at a time, until it
        /// returns false: if nothing takes events, droppable packets are dropped, and then nothing is read any more.
        /// </summary>
        public bool TryReceive(out TransportEvent happened)
        {
            return events.TryTake(out happened);
        }

        /// <summary>
        /// Sends a packet reliably. False: it is not sent, because there is no connection, or because too many wait. A
        /// connection that loses such a packet is of no use any more.
        /// </summary>
        /// <param name="packet">The packet, which is copied.</param>
        /// <param name="path">A direct path that is up; 0: the server.</param>
        /// <exception cref="ArgumentException">The packet is longer than <see cref="TransportSettings.MaxPacket"/>.</exception>
        public bool SendReliable(ArraySegment<byte> packet, int path = 0)
        {
            CheckLength(packet);
            return isConnected && reliable.TryAdd(packet, path);
        }

        /// <summary>
        /// Sends a packet that may be lost. If too many wait, the oldest is dropped. Without a connection this one is.
        /// </summary>
        /// <param name="packet">The packet, which is copied.</param>
        /// <param name="path">A direct path that is up; 0: the server.</param>
        /// <exception cref="ArgumentException">The packet is longer than <see cref="TransportSettings.MaxPacket"/>.</exception>
        public void SendDroppable(ArraySegment<byte> packet, int path = 0)
        {
            CheckLength(packet);
            if (!isConnected || !droppable.AddOrDropOldest(packet, path))
            {
                Interlocked.Increment(ref replaced);
            }
        }

        /// <summary>Ends the connection. What was sent just before may be lost.</summary>
        public void Dispose()
        {
            isStopped = true;
            isConnected = false;
            if (thread.IsAlive)
            {
                // Looking a name up cannot be interrupted: then the thread ends later.
                thread.Join(100);
            }
        }

        private void Run()
        {
            var backoff = FirstBackoff;
            while (!isStopped)
            {
                var start = clock.ElapsedMilliseconds;
                var why = RunOnce();
                if (isStopped)
                {
                    return;
                }
                if (why.IsFinal || !settings.Reconnect)
                {
                    inbox.News(why.IsFinal ? TransportEventKind.Refused : TransportEventKind.Failed, why.Message);
                    return;
                }
                // A connection that lasted does not count as a failure.
                backoff = clock.ElapsedMilliseconds - start > 10000 ? FirstBackoff : backoff;
                var wait = backoff - random.Next(backoff / 2);
                inbox.News(TransportEventKind.Disconnected, why.Message + "; trying again in " + wait / 1000.0 + " s");
                Pause(wait);
                backoff = Math.Min(backoff + FirstBackoff, LongestBackoff);
            }
        }

        /// <summary>One connection, from its beginning to its end. Returns why it ended.</summary>
        private TransportException RunOnce()
        {
            try
            {
                using (var link = new Link(settings, inbox, reliable, droppable, clock, () => isStopped))
                {
                    inbox.Counters.DroppedOut += reliable.Clear() + droppable.Clear();
                    link.Greet(() => isStopped, () => ++lastPath, () => isConnected = true);
                    RunLink(link);
                }
                return new TransportException("stopped");
            }
            catch (TransportException error)
            {
                return error;
            }
            catch (SocketException error)
            {
                return new TransportException("the connection is lost (" + error.SocketErrorCode + ")");
            }
            catch (Exception error)
            {
                // Nothing that the network can do ends the game.
                return new TransportException("the connection is given up: " + error);
            }
            finally
            {
                isConnected = false;
            }
        }

        private void RunLink(Link link)
        {
            while (!isStopped)
            {
                var did = link.Turn();
                if (AfterTurn != null)
                {
                    AfterTurn();
                }
                if (!did)
                {
                    link.Wait();
                }
            }
            // What waits is sent, if the system takes it.
            link.Turn();
        }

        private void Pause(int milliseconds)
        {
            var start = clock.ElapsedMilliseconds;
            while (!isStopped && clock.ElapsedMilliseconds - start < milliseconds)
            {
                Thread.Sleep(20);
            }
        }

        private void CheckLength(ArraySegment<byte> packet)
        {
            if (packet.Count > settings.MaxPacket)
            {
                throw new ArgumentException("the packet has " + packet.Count + " bytes, " + settings.MaxPacket + " at most are possible");
            }
        }

        private static void Check(bool isValid, string setting, string range)
        {
            if (!isValid)
            {
                throw new ArgumentException("the setting " + setting + " has to be " + range);
            }
        }
    }
}
