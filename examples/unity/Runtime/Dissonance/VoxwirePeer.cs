using System;
using Voxwire.Transport;

namespace Voxwire.Dissonance
{
    /// <summary>Another player that is reached directly.</summary>
    public struct VoxwirePeer : IEquatable<VoxwirePeer>
    {
        /// <summary>The number of the direct path.</summary>
        public readonly int Path;

        /// <summary>The player at the other end of this path.</summary>
        public VoxwirePeer(int path)
        {
            Path = path;
        }

        /// <inheritdoc/>
        public bool Equals(VoxwirePeer other)
        {
            return Path == other.Path;
        }

        /// <inheritdoc/>
        public override bool Equals(object other)
        {
            return other is VoxwirePeer && Equals((VoxwirePeer)other);
        }

        /// <inheritdoc/>
        public override int GetHashCode()
        {
            return Path;
        }
    }

    /// <summary>What a client is made with.</summary>
    public struct VoxwireClientParameters
    {
        internal readonly TransportSettings Settings;

        internal VoxwireClientParameters(TransportSettings settings)
        {
            Settings = settings;
        }
    }

    /// <summary>What a server would be made with, if players had one.</summary>
    public struct VoxwireServerParameters
    {
    }
}
