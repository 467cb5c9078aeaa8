using System;
using System.Collections.Generic;
using Dissonance.Networking;
using Voxwire.Transport;

namespace Voxwire.Dissonance
{
    /// <summary>Dissonance's client on a <see cref="TransportConnection"/>. Dissonance makes a new one for each connection.</summary>
    public sealed class VoxwireClient : BaseClient<VoxwireServer, VoxwireClient, VoxwirePeer>
    {
        private readonly VoxwireCommsNetwork network;
        private readonly TransportSettings settings;
        private readonly List<int> paths = new List<int>();
        private TransportConnection connection;
        private byte[] handshake;

        internal VoxwireClient(VoxwireCommsNetwork network, VoxwireClientParameters parameters) : base(network)
        {
            this.network = network;
            settings = parameters.Settings;
        }

        /// <inheritdoc/>
        public override void Connect()
        {
            try
            {
                connection = new TransportConnection(settings);
                connection.Start();
            }
            catch (ArgumentException wrong)
            {
                connection = null;
                network.Tell(TransportEventKind.Refused, wrong.Message);
                FatalError(wrong.Message);
            }
        }

        /// <inheritdoc/>
        public override void Disconnect()
        {
            if (connection != null)
            {
                connection.Dispose();
                connection = null;
            }
            paths.Clear();
            handshake = null;
            base.Disconnect();
        }

        /// <inheritdoc/>
        protected override void ReadMessages()
        {
            TransportEvent happened;
            // Any packet can make Dissonance disconnect.
            while (connection != null && connection.TryReceive(out happened))
            {
                if (happened.Kind == TransportEventKind.Packet)
                {
                    var client = NetworkReceivedPacket(happened.Packet);
                    if (client.HasValue && happened.Path != 0)
                    {
                        ReceiveHandshakeP2P(client.Value, new VoxwirePeer(happened.Path));
                    }
                    continue;
                }
                network.Tell(happened.Kind, happened.Words);
                OnNews(happened);
            }
        }

        /// <inheritdoc/>
        protected override void SendReliable(ArraySegment<byte> packet)
        {
            // Of a connection that is lost, ReadMessages hears next, and why.
            if (connection != null && !connection.SendReliable(packet) && connection.IsConnected)
            {
                FatalError("a reliable packet cannot be sent: the server takes nothing");
            }
        }

        /// <inheritdoc/>
        protected override void SendUnreliable(ArraySegment<byte> packet)
        {
            if (connection != null)
            {
                connection.SendDroppable(packet);
            }
        }

        /// <summary>
        /// A handshake goes directly or not at all: the server does not hand it on. Everything else that must not be lost goes by the server,
        /// since a path that breaks loses what is on its way.
        /// </summary>
        protected override void SendReliableP2P(List<ClientInfo<VoxwirePeer?>> destinations, ArraySegment<byte> packet)
        {
            if (!IsHandshakeP2P(packet))
            {
                base.SendReliableP2P(destinations, packet);
                return;
            }
            for (var at = 0; at < destinations.Count; at++)
            {
                var peer = destinations[at].Connection;
                if (peer.HasValue && paths.Contains(peer.Value.Path))
                {
                    connection.SendReliable(packet, peer.Value.Path);
                }
            }
            destinations.Clear();
        }

        /// <inheritdoc/>
        protected override void SendUnreliableP2P(List<ClientInfo<VoxwirePeer?>> destinations, ArraySegment<byte> packet)
        {
            for (var at = destinations.Count - 1; at >= 0; at--)
            {
                var peer = destinations[at].Connection;
                if (peer.HasValue && paths.Contains(peer.Value.Path))
                {
                    connection.SendDroppable(packet, peer.Value.Path);
                    destinations.RemoveAt(at);
                }
            }
            base.SendUnreliableP2P(destinations, packet);
        }

        /// <inheritdoc/>
        protected override void OnServerAssignedSessionId(uint session, ushort id)
        {
            base.OnServerAssignedSessionId(session, id);
            handshake = WriteHandshakeP2P(session, id);
            for (var at = 0; at < paths.Count; at++)
            {
                Introduce(paths[at]);
            }
        }

        private void OnNews(TransportEvent happened)
        {
            switch (happened.Kind)
            {
                case TransportEventKind.Connected:
                    Connected();
                    break;
                case TransportEventKind.PathUp:
                    paths.Add(happened.Path);
                    Introduce(happened.Path);
                    break;
                case TransportEventKind.PathDown:
                    paths.Remove(happened.Path);
                    break;
                case TransportEventKind.Failed:
                case TransportEventKind.Refused:
                    FatalError(happened.Words);
                    break;
            }
        }

        /// <summary>Tells the other end of a path who this player is. The other end answers with its own number.</summary>
        private void Introduce(int path)
        {
            if (handshake != null)
            {
                connection.SendReliable(new ArraySegment<byte>(handshake), path);
            }
        }

        /// <summary>Whether the type of a packet, its third byte, is that of HandshakeP2P.</summary>
        private static bool IsHandshakeP2P(ArraySegment<byte> packet)
        {
            return packet.Count > 2 && packet.Array[packet.Offset + 2] == 11;
        }
    }
}
