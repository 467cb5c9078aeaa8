using System;
using System.Collections.Generic;
using System.Diagnostics;
using Voxwire.Samples;

namespace Dissonance.Networking
{
    /// <summary>Another player, as the session knows it.</summary>
    public class ClientInfo<TPeer>
    {
        public string PlayerName { get; internal set; }

        public ushort PlayerId { get; internal set; }

        public TPeer Connection { get; internal set; }
    }

    /// <summary>
    /// The names and signatures of the public documentation. What they do is a small client of our own, with the codec of the console
    /// sample: enough to join the room Lobby, to speak and to listen.
    /// </summary>
    public abstract class BaseClient<TServer, TClient, TPeer>
        where TServer : BaseServer<TServer, TClient, TPeer>
        where TClient : BaseClient<TServer, TClient, TPeer>
        where TPeer : struct, IEquatable<TPeer>
    {
        private const string Room = "Lobby";

        private readonly ICommsNetworkState network;
        private readonly PacketReader reader = new PacketReader();
        private readonly PacketWriter writer = new PacketWriter();
        private readonly PacketWriter outerWriter = new PacketWriter();
        private readonly Packet packet = new Packet();
        private readonly Dictionary<ushort, ClientInfo<TPeer?>> clients = new Dictionary<ushort, ClientInfo<TPeer?>>();
        private readonly Dictionary<ushort, TPeer> early = new Dictionary<ushort, TPeer>();
        private readonly List<ClientInfo<TPeer?>> destinations = new List<ClientInfo<TPeer?>>();
        private readonly Stopwatch clock = Stopwatch.StartNew();
        private long nextHandshake;
        private bool isConnected;
        private bool isJoined;
        private uint session;
        private ushort id;
        private ushort sequence;

        protected BaseClient(ICommsNetworkState network)
        {
            this.network = network;
        }

        /// <summary>What the test hears: the speaker and the frame.</summary>
        public event Action<string, ArraySegment<byte>> VoiceOfTest;

        public bool IsOver { get; private set; }

        /// <summary>The others that are in the session, and those that are reached directly.</summary>
        public string StateOfTest
        {
            get
            {
                var direct = 0;
                foreach (var client in clients.Values)
                {
                    direct += client.Connection.HasValue ? 1 : 0;
                }
                return (isJoined ? "joined " : "not joined ") + clients.Count + " others, " + direct + " direct";
            }
        }

        public abstract void Connect();

        public virtual void Disconnect()
        {
            IsOver = true;
        }

        public void Update()
        {
            if (isConnected && !isJoined && clock.ElapsedMilliseconds >= nextHandshake)
            {
                nextHandshake = clock.ElapsedMilliseconds + 2000;
                SendReliable(writer.Write(new Packet { Type = PacketType.HandshakeRequest, Codec = CodecSettings.Opus, Name = network.PlayerName }));
            }
            if (!IsOver)
            {
                ReadMessages();
            }
        }

        /// <summary>Speaks a frame to the others.</summary>
        public void SayByTest(byte[] frame)
        {
            destinations.Clear();
            destinations.AddRange(clients.Values);
            var voice = new Packet
            {
                Type = PacketType.VoiceData,
                Session = session,
                Client = id,
                Options = 0x80,
                Sequence = sequence++,
                Frame = new ArraySegment<byte>(frame),
            };
            voice.Channels.Add(new Channel { Bitfield = 0x8001, Recipient = RoomId.Of(Room) });
            SendUnreliableP2P(destinations, writer.Write(voice));
        }

        protected void Connected()
        {
            isConnected = true;
        }

        protected void FatalError(string reason)
        {
            Console.WriteLine("fatal " + reason);
            Disconnect();
        }

        protected abstract void ReadMessages();

        protected abstract void SendReliable(ArraySegment<byte> bytes);

        protected abstract void SendUnreliable(ArraySegment<byte> bytes);

        protected virtual void SendReliableP2P(List<ClientInfo<TPeer?>> to, ArraySegment<byte> bytes)
        {
            if (to.Count > 0)
            {
                SendReliable(Relayed(PacketType.ServerRelayReliable, to, bytes));
            }
        }

        protected virtual void SendUnreliableP2P(List<ClientInfo<TPeer?>> to, ArraySegment<byte> bytes)
        {
            if (to.Count > 0)
            {
                SendUnreliable(Relayed(PacketType.ServerRelayUnreliable, to, bytes));
            }
        }

        protected virtual void OnServerAssignedSessionId(uint newSession, ushort newId)
        {
        }

        protected byte[] WriteHandshakeP2P(uint ofSession, ushort ofId)
        {
            var bytes = writer.Write(new Packet { Type = PacketType.HandshakeP2P, Session = ofSession, Client = ofId });
            var copy = new byte[bytes.Count];
            Buffer.BlockCopy(bytes.Array, bytes.Offset, copy, 0, copy.Length);
            return copy;
        }

        protected void ReceiveHandshakeP2P(ushort client, TPeer connection)
        {
            ClientInfo<TPeer?> known;
            if (!clients.TryGetValue(client, out known))
            {
                early[client] = connection;
                return;
            }
            var isNew = !known.Connection.HasValue;
            known.Connection = connection;
            if (isNew)
            {
                SendReliableP2P(new List<ClientInfo<TPeer?>> { known }, new ArraySegment<byte>(WriteHandshakeP2P(session, id)));
            }
        }

        /// <summary>Handles a packet. Returns the client that introduces itself, if it is a HandshakeP2P.</summary>
        public ushort? NetworkReceivedPacket(ArraySegment<byte> bytes)
        {
            if (!reader.TryRead(bytes, packet))
            {
                FatalError("a packet that is none");
                return null;
            }
            switch (packet.Type)
            {
                case PacketType.HandshakeResponse:
                    OnResponse();
                    return null;
                case PacketType.ClientState:
                    Enter(packet.Client, packet.Name);
                    return null;
                case PacketType.RemoveClient:
                    clients.Remove(packet.Client);
                    return null;
                case PacketType.VoiceData:
                    if (VoiceOfTest != null && clients.ContainsKey(packet.Client))
                    {
                        VoiceOfTest(clients[packet.Client].PlayerName, packet.Frame);
                    }
                    return null;
                case PacketType.HandshakeP2P:
                    return packet.Session == session ? packet.Client : (ushort?)null;
                default:
                    return null;
            }
        }

        private void OnResponse()
        {
            session = packet.Session;
            id = packet.Client;
            isJoined = true;
            OnServerAssignedSessionId(session, id);
            foreach (var client in packet.Clients)
            {
                Enter(client.Client, client.Name);
            }
            var state = new Packet
            {
                Type = PacketType.ClientState,
                Session = session,
                Client = id,
                Name = network.PlayerName,
                Codec = CodecSettings.Opus,
            };
            state.Rooms.Add(Room);
            SendReliable(writer.Write(state));
        }

        private void Enter(ushort client, string name)
        {
            if (client == id || clients.ContainsKey(client))
            {
                return;
            }
            clients[client] = new ClientInfo<TPeer?> { PlayerId = client, PlayerName = name };
            TPeer connection;
            if (early.TryGetValue(client, out connection))
            {
                early.Remove(client);
                ReceiveHandshakeP2P(client, connection);
            }
        }

        private ArraySegment<byte> Relayed(PacketType type, List<ClientInfo<TPeer?>> to, ArraySegment<byte> bytes)
        {
            var relay = new Packet { Type = type, Session = session, Payload = bytes };
            foreach (var client in to)
            {
                relay.Destinations.Add(client.PlayerId);
            }
            return outerWriter.Write(relay);
        }
    }
}
