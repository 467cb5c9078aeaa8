using System;
using Dissonance.Networking;

namespace Voxwire.Dissonance
{
    /// <summary>Dissonance's types ask for a server among the players. There is none: <see cref="VoxwireCommsNetwork"/> makes no instance.</summary>
    public sealed class VoxwireServer : BaseServer<VoxwireServer, VoxwireClient, VoxwirePeer>
    {
        private VoxwireServer()
        {
        }

        /// <inheritdoc/>
        protected override void ReadMessages()
        {
        }

        /// <inheritdoc/>
        protected override void SendReliable(VoxwirePeer connection, ArraySegment<byte> packet)
        {
        }

        /// <inheritdoc/>
        protected override void SendUnreliable(VoxwirePeer connection, ArraySegment<byte> packet)
        {
        }
    }
}
