using System;
using System.Collections.Generic;

namespace Voxwire.Transport
{
    /// <summary>
    /// What a <see cref="TransportConnection"/> connects to, and how. The connection copies the settings when it is made; later changes have
    /// no effect.
    /// </summary>
    public sealed class TransportSettings
    {
        /// <summary>A name or an address: <c>voice.example</c>, <c>192.0.2.1</c>, <c>2001:db8::1</c>.</summary>
        public string Host = "127.0.0.1";

        /// <summary>The TCP port. The server names its UDP port itself; by default it is the same number.</summary>
        public int Port = 4244;

        /// <summary>What the server's operator gives out, at most 1024 bytes; usually empty.</summary>
        public byte[] Token = new byte[0];

        /// <summary>Whether droppable packets go by UDP where it gets through.</summary>
        public bool Udp = true;

        /// <summary>Whether droppable packets go by TCP while UDP does not get through. Otherwise they are dropped.</summary>
        public bool Fallback = true;

        /// <summary>
        /// Whether other players may be reached directly. The server then tells this client's address to other clients that ask for it, and
        /// their addresses to this client. On each of at most 32 paths up to 64 reliable packets wait for their acks. Each takes up to MaxPacket
        /// bytes of memory, from the first time that so many wait.
        /// </summary>
        public bool Direct;

        /// <summary>TLS on the TCP side; null for none.</summary>
        public TlsSettings Tls;

        /// <summary>Whether to connect again after a lost connection, within 0.5 s at first and within 3 s in the end.</summary>
        public bool Reconnect = true;

        /// <summary>Longest packet either way, in bytes. Dissonance has 1024. At most 65534; a longer one from the server ends the connection.</summary>
        public int MaxPacket = 1024;

        /// <summary>Events that wait for <see cref="TransportConnection.TryReceive"/>, at least 64. Each takes MaxPacket bytes of memory.</summary>
        public int ReceiveQueue = 256;

        /// <summary>Reliable packets that wait to be sent, and, apart from them, droppable ones: at least 8. Each takes MaxPacket bytes of memory.</summary>
        public int SendQueue = 128;

        /// <summary>
        /// How long each step of the set-up may take, in milliseconds: the connection, TLS, and the server's answer. At least 100.
        /// </summary>
        public int ConnectTimeout = 10000;

        /// <summary>How long a packet may wait for the network thread to look for it, in milliseconds: 1 to 50.</summary>
        public int Tick = 4;

        /// <summary>The same settings, which nobody else changes.</summary>
        internal TransportSettings Copy()
        {
            var copy = (TransportSettings)MemberwiseClone();
            copy.Token = Token == null ? null : (byte[])Token.Clone();
            copy.Tls = Tls == null ? null : Tls.Copy();
            return copy;
        }
    }

    /// <summary>TLS on the TCP side.</summary>
    public sealed class TlsSettings
    {
        /// <summary>The name that the server's certificate has to show; null: <see cref="TransportSettings.Host"/>.</summary>
        public string ServerName;

        /// <summary>
        /// SHA-256 fingerprints of certificates, in hexadecimal, with or without colons. If there are any, the server has to show one of
        /// these certificates, and nothing else about it is checked. Otherwise the roots of the system decide.
        /// </summary>
        public List<string> PinnedSha256 = new List<string>();

        /// <summary>
        /// Whether voice may go by UDP all the same, where it is not encrypted. Otherwise everything stays on TLS, and there are no direct
        /// paths.
        /// </summary>
        public bool ClearUdp;

        /// <summary>
        /// Pins certificates: a fingerprint as in <see cref="PinnedSha256"/>, or the text of a PEM file, all of whose certificates are pinned.
        /// </summary>
        /// <exception cref="FormatException">The text is neither.</exception>
        public void Pin(string fingerprintOrPem)
        {
            if (fingerprintOrPem.Contains("-----BEGIN"))
            {
                PinnedSha256.AddRange(Certificates.Fingerprints(fingerprintOrPem));
            }
            else
            {
                PinnedSha256.Add(Certificates.Normalized(fingerprintOrPem));
            }
        }

        internal TlsSettings Copy()
        {
            return new TlsSettings { ServerName = ServerName, PinnedSha256 = new List<string>(PinnedSha256), ClearUdp = ClearUdp };
        }
    }
}
