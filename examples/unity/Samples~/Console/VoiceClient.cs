using System;
using System.Collections.Generic;
using System.Diagnostics;
using Voxwire.Transport;

namespace Voxwire.Samples
{
    /// <summary>A small Dissonance client: it joins, listens to rooms, speaks and writes. All calls come from one thread.</summary>
    public sealed class VoiceClient : IDisposable
    {
        private const int HandshakeInterval = 2000;

        /// <summary>Volume 1, default priority.</summary>
        private const ushort OpenChannel = 0x8000;

        private readonly TransportConnection connection;
        private readonly string name;
        private readonly PacketReader reader = new PacketReader();
        private readonly PacketWriter writer = new PacketWriter();
        private readonly PacketWriter outerWriter = new PacketWriter();
        private readonly Packet received = new Packet();
        private readonly Packet voice = new Packet { Type = PacketType.VoiceData };
        private readonly Packet outer = new Packet();
        private readonly Dictionary<ushort, string> names = new Dictionary<ushort, string>();
        private readonly Dictionary<ushort, List<ushort>> listeners = new Dictionary<ushort, List<ushort>>();
        private readonly Dictionary<ushort, int> paths = new Dictionary<ushort, int>();
        private readonly List<int> openPaths = new List<int>();
        private readonly List<string> rooms = new List<string>();
        private readonly List<ushort> reached = new List<ushort>();
        private readonly Stopwatch clock = Stopwatch.StartNew();
        private long nextHandshake;
        private bool isAdmitted;
        private uint session;
        private ushort sequence;

        /// <summary>Nothing is connected before <see cref="Start"/>.</summary>
        public VoiceClient(string name, TransportSettings settings)
        {
            this.name = name;
            connection = new TransportConnection(settings);
        }

        /// <summary>A frame has come in: the speaker, and the frame, which is valid during the call.</summary>
        public event Action<ushort, ArraySegment<byte>> Voice;

        /// <summary>A text has come in: the writer's name, and the text.</summary>
        public event Action<string, string> Text;

        /// <summary>Anything else that a user may want to know, in words.</summary>
        public event Action<TransportEventKind, string> News;

        /// <summary>Whether this client is in the session.</summary>
        public bool IsJoined { get; private set; }

        /// <summary>This client's number.</summary>
        public ushort Client { get; private set; }

        /// <summary>The transport below.</summary>
        public TransportConnection Connection
        {
            get { return connection; }
        }

        /// <summary>The clients that are reached directly.</summary>
        public int Paths
        {
            get { return paths.Count; }
        }

        /// <summary>Begins to connect.</summary>
        public void Start()
        {
            connection.Start();
        }

        /// <summary>Handles all that has come in. To be called often: each 10 ms or so.</summary>
        public void Update()
        {
            TransportEvent happened;
            while (connection.TryReceive(out happened))
            {
                OnEvent(ref happened);
            }
            if (isAdmitted && !IsJoined && clock.ElapsedMilliseconds >= nextHandshake)
            {
                nextHandshake = clock.ElapsedMilliseconds + HandshakeInterval;
                Send(new Packet { Type = PacketType.HandshakeRequest, Codec = CodecSettings.Opus, Name = name });
            }
        }

        /// <summary>Listens to a room.</summary>
        public void Join(string room)
        {
            rooms.Add(room);
            SendDelta(room, true);
        }

        /// <summary>Does not listen to a room any more.</summary>
        public void Leave(string room)
        {
            rooms.Remove(room);
            SendDelta(room, false);
        }

        /// <summary>How many clients listen to a room, this one not counted.</summary>
        public int Listeners(string room)
        {
            FindListeners(RoomId.Of(room));
            return reached.Count;
        }

        /// <summary>The number of a client, or -1.</summary>
        public int Find(string player)
        {
            foreach (var known in names)
            {
                if (known.Value == player)
                {
                    return known.Key;
                }
            }
            return -1;
        }

        /// <summary>The name of a client, or null.</summary>
        public string NameOf(ushort client)
        {
            string known;
            return names.TryGetValue(client, out known) ? known : null;
        }

        /// <summary>The name of a client, or its number where the server has not told the name yet.</summary>
        public string Describe(ushort client)
        {
            return NameOf(client) ?? "client " + client;
        }

        /// <summary>Speaks one frame to a room. False: nobody listens.</summary>
        public bool Say(ushort room, ArraySegment<byte> frame)
        {
            FindListeners(room);
            if (!IsJoined || reached.Count == 0)
            {
                return false;
            }
            voice.Session = session;
            voice.Client = Client;
            voice.Options = 0x80;
            voice.Sequence = sequence++;
            voice.Channels.Clear();
            voice.Channels.Add(new Channel { Bitfield = OpenChannel | 1, Recipient = room });
            voice.Frame = frame;
            var packet = writer.Write(voice);
            for (var at = reached.Count - 1; at >= 0; at--)
            {
                int path;
                if (paths.TryGetValue(reached[at], out path))
                {
                    connection.SendDroppable(packet, path);
                    reached.RemoveAt(at);
                }
            }
            Relay(packet, PacketType.ServerRelayUnreliable);
            return true;
        }

        /// <summary>Writes to a room. False: nobody listens.</summary>
        public bool Write(string room, string text)
        {
            var number = RoomId.Of(room);
            FindListeners(number);
            if (!IsJoined || reached.Count == 0)
            {
                return false;
            }
            var packet = new Packet { Type = PacketType.TextData, Session = session, Client = Client, Target = number, Text = text };
            Relay(writer.Write(packet), PacketType.ServerRelayReliable);
            return true;
        }

        /// <inheritdoc/>
        public void Dispose()
        {
            connection.Dispose();
        }

        private void OnEvent(ref TransportEvent happened)
        {
            switch (happened.Kind)
            {
                case TransportEventKind.Packet:
                    OnPacket(happened.Packet, happened.Path);
                    return;
                case TransportEventKind.Connected:
                    isAdmitted = true;
                    nextHandshake = 0;
                    break;
                case TransportEventKind.Disconnected:
                case TransportEventKind.Failed:
                case TransportEventKind.Refused:
                    isAdmitted = false;
                    Forget();
                    break;
                case TransportEventKind.PathUp:
                    openPaths.Add(happened.Path);
                    Introduce(happened.Path);
                    break;
                case TransportEventKind.PathDown:
                    openPaths.Remove(happened.Path);
                    ForgetPath(happened.Path);
                    break;
            }
            Tell(happened.Kind, happened.Words);
        }

        private void OnPacket(ArraySegment<byte> bytes, int path)
        {
            var packet = received;
            if (!reader.TryRead(bytes, packet))
            {
                Tell(TransportEventKind.Packet, "a packet that is none");
                return;
            }
            if (packet.Type == PacketType.HandshakeResponse)
            {
                OnResponse(packet);
                return;
            }
            if (packet.Session != session)
            {
                if (packet.Type == PacketType.ErrorWrongSession)
                {
                    Forget();
                    nextHandshake = 0;
                }
                return;
            }
            switch (packet.Type)
            {
                case PacketType.VoiceData:
                    if (Voice != null)
                    {
                        Voice(packet.Client, packet.Frame);
                    }
                    break;
                case PacketType.TextData:
                    if (Text != null)
                    {
                        Text(NameOf(packet.Client), packet.Text);
                    }
                    break;
                case PacketType.ClientState:
                    if (packet.Client != Client && !names.ContainsKey(packet.Client))
                    {
                        Tell(TransportEventKind.Packet, packet.Name + " is there");
                    }
                    names[packet.Client] = packet.Name;
                    RemoveFromRooms(packet.Client);
                    foreach (var room in packet.Rooms)
                    {
                        Listen(RoomId.Of(room ?? ""), packet.Client);
                    }
                    break;
                case PacketType.DeltaClientState:
                    OnDelta(packet);
                    break;
                case PacketType.RemoveClient:
                    Tell(TransportEventKind.Packet, Describe(packet.Client) + " has left");
                    names.Remove(packet.Client);
                    RemoveFromRooms(packet.Client);
                    paths.Remove(packet.Client);
                    break;
                case PacketType.HandshakeP2P:
                    OnHandshakeP2P(packet.Client, path);
                    break;
            }
        }

        private void OnResponse(Packet packet)
        {
            Forget();
            session = packet.Session;
            Client = packet.Client;
            packet.Clients.ForEach(client => names[client.Client] = client.Name);
            foreach (var room in packet.RoomListeners)
            {
                room.Listeners.ForEach(client => Listen(room.Room, client));
            }
            IsJoined = true;
            var state = new Packet { Type = PacketType.ClientState, Session = session, Client = Client, Name = name, Codec = CodecSettings.Opus };
            state.Rooms.AddRange(rooms);
            Send(state);
            openPaths.ForEach(Introduce);
            Tell(TransportEventKind.Packet, "joined as client " + Client);
        }

        private void OnDelta(Packet packet)
        {
            var room = RoomId.Of(packet.Room ?? "");
            if (packet.Joined)
            {
                Listen(room, packet.Client);
            }
            else if (listeners.ContainsKey(room))
            {
                listeners[room].Remove(packet.Client);
            }
        }

        /// <summary>Another client says on a direct path who it is.</summary>
        private void OnHandshakeP2P(ushort client, int path)
        {
            int known;
            if (path == 0 || (paths.TryGetValue(client, out known) && known == path))
            {
                return;
            }
            paths[client] = path;
            Introduce(path);
            Tell(TransportEventKind.PathUp, "voice for " + Describe(client) + " goes directly");
        }

        private void Introduce(int path)
        {
            if (IsJoined)
            {
                connection.SendReliable(writer.Write(new Packet { Type = PacketType.HandshakeP2P, Session = session, Client = Client }), path);
            }
        }

        private void Forget()
        {
            IsJoined = false;
            names.Clear();
            listeners.Clear();
            paths.Clear();
        }

        private void ForgetPath(int path)
        {
            foreach (var known in paths)
            {
                if (known.Value == path)
                {
                    paths.Remove(known.Key);
                    return;
                }
            }
        }

        private void SendDelta(string room, bool joined)
        {
            if (IsJoined)
            {
                Send(new Packet { Type = PacketType.DeltaClientState, Session = session, Client = Client, Joined = joined, Room = room });
            }
        }

        private void Send(Packet packet)
        {
            connection.SendReliable(writer.Write(packet));
        }

        /// <summary>Has the server hand a packet on to those who are left in <see cref="reached"/>: as many in one packet as fit.</summary>
        private void Relay(ArraySegment<byte> packet, PacketType type)
        {
            var most = Math.Min(255, (PacketWriter.MaxPacket - 10 - packet.Count) / 2);
            for (var at = 0; at < reached.Count; at += most)
            {
                outer.Type = type;
                outer.Session = session;
                outer.Destinations.Clear();
                for (var next = at; next < reached.Count && next < at + most; next++)
                {
                    outer.Destinations.Add(reached[next]);
                }
                outer.Payload = packet;
                var bytes = outerWriter.Write(outer);
                if (type == PacketType.ServerRelayReliable)
                {
                    connection.SendReliable(bytes);
                }
                else
                {
                    connection.SendDroppable(bytes);
                }
            }
        }

        private void FindListeners(ushort room)
        {
            reached.Clear();
            List<ushort> found;
            if (listeners.TryGetValue(room, out found))
            {
                foreach (var client in found)
                {
                    if (client != Client)
                    {
                        reached.Add(client);
                    }
                }
            }
        }

        private void Listen(ushort room, ushort client)
        {
            List<ushort> found;
            if (!listeners.TryGetValue(room, out found))
            {
                listeners[room] = found = new List<ushort>();
            }
            if (!found.Contains(client))
            {
                found.Add(client);
            }
        }

        private void RemoveFromRooms(ushort client)
        {
            foreach (var found in listeners.Values)
            {
                found.Remove(client);
            }
        }

        private void Tell(TransportEventKind kind, string words)
        {
            if (News != null)
            {
                News(kind, words);
            }
        }
    }
}
