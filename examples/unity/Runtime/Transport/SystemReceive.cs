using System;
using System.Net.Sockets;
using System.Runtime.InteropServices;

namespace Voxwire.Transport
{
    /// <summary>
    /// The system's own <c>recvfrom</c>. <see cref="Socket.ReceiveFrom(byte[], int, int, SocketFlags, ref System.Net.EndPoint)"/> makes an
    /// object of each sender's address, whatever object it is handed: 96 bytes a datagram on Mono. This allocates nothing.
    /// </summary>
    internal static class SystemReceive
    {
        /// <summary>Leaves the datagram where it is. The same number on every system.</summary>
        internal const int Peek = 2;

        /// <summary>Room for the address of any family.</summary>
        internal const int AddressLength = 128;

#if ENABLE_IL2CPP || (UNITY_5_3_OR_NEWER && !UNITY_EDITOR && !UNITY_STANDALONE && !UNITY_ANDROID)
        /// <summary>Takes a datagram and its sender's address, as the system writes it. Returns its length, or less than 0.</summary>
        internal static int From(Socket socket, byte[] to, int flags, byte[] address)
        {
            // With IL2CPP a socket's handle is a number in a table of the runtime: the system would take it for another descriptor. On phones
            // of Apple and on consoles a function of the system may not be looked for by its name.
            throw new NotSupportedException();
        }
#else
        private static readonly bool IsWindows = Environment.OSVersion.Platform == PlatformID.Win32NT;

        /// <summary>MSG_DONTWAIT. Windows has none: there the socket itself does not wait.</summary>
        private static readonly int DoNotWait =
            RuntimeInformation.IsOSPlatform(OSPlatform.OSX) || RuntimeInformation.IsOSPlatform(OSPlatform.Create("FREEBSD")) ? 0x80 : 0x40;

        /// <summary>Takes a datagram and its sender's address, as the system writes it. Returns its length, or less than 0.</summary>
        internal static int From(Socket socket, byte[] to, int flags, byte[] address)
        {
            var room = address.Length;
            return IsWindows
                ? FromWindows(socket.Handle, to, to.Length, flags, address, ref room)
                : (int)FromUnix((int)socket.Handle, to, (UIntPtr)(uint)to.Length, flags | DoNotWait, address, ref room);
        }

        [DllImport("ws2_32", EntryPoint = "recvfrom")]
        private static extern int FromWindows(IntPtr socket, [Out] byte[] to, int length, int flags, [Out] byte[] from, ref int fromLength);

        [DllImport("libc", EntryPoint = "recvfrom")]
        private static extern IntPtr FromUnix(int socket, [Out] byte[] to, UIntPtr length, int flags, [Out] byte[] from, ref int fromLength);
#endif
    }
}
