using System;
using System.Text;
using Dissonance;
using Dissonance.Networking;
using UnityEngine;
using Voxwire.Transport;

namespace Voxwire.Dissonance
{
    /// <summary>
    /// Connects Dissonance to a voxwire server. To be put beside <c>DissonanceComms</c>. The server relays voice, so there is no host among
    /// the players.
    /// </summary>
    public sealed class VoxwireCommsNetwork
        : BaseCommsNetwork<VoxwireServer, VoxwireClient, VoxwirePeer, VoxwireClientParameters, VoxwireServerParameters>
    {
        [Header("Server")]
        [Tooltip("A name or an address.")]
        public string Host = "127.0.0.1";

        [Tooltip("The server's port for Dissonance by TCP + UDP.")]
        public int Port = 4244;

        [Tooltip("What the server's operator gives out; usually empty.")]
        public string Token = "";

        [Tooltip("Connect as soon as the scene starts. Otherwise Connect() does.")]
        public bool ConnectOnStart = true;

        [Header("Voice")]
        [Tooltip("Voice goes by UDP where that gets through.")]
        public bool Udp = true;

        [Tooltip("Where UDP does not get through, voice goes by TCP. Otherwise it is dropped.")]
        public bool FallBackToTcp = true;

        [Tooltip("Players reach each other directly where that is possible. They learn each other's addresses.")]
        public bool DirectPaths;

        [Header("Encryption")]
        [Tooltip("TLS, for a server that has a certificate. Voice then goes by TCP.")]
        public bool Tls;

        [Tooltip("The name that the certificate has to show; empty: the host.")]
        public string CertificateName = "";

        [Tooltip("SHA-256 fingerprints of certificates, or the text of PEM files. If there are any, the server has to show one of them.")]
        public string[] PinnedCertificates = new string[0];

        [Tooltip("With TLS, voice goes by UDP all the same, where it is not encrypted.")]
        public bool ClearUdpDespiteTls;

        private bool isAsked;
        private bool isWanted;

        /// <summary>What happens on the network, in words: for a player's display, or a log. Called by the main thread.</summary>
        public event Action<TransportEventKind, string> News;

        /// <summary>Connects, and connects again when the connection is lost.</summary>
        public void Connect()
        {
            isAsked = true;
            isWanted = true;
        }

        /// <summary>Ends the connection until <see cref="Connect"/>.</summary>
        public void Disconnect()
        {
            isAsked = true;
            isWanted = false;
        }

        /// <inheritdoc/>
        protected override VoxwireClient CreateClient(VoxwireClientParameters parameters)
        {
            return new VoxwireClient(this, parameters);
        }

        /// <summary>Is never asked for: a voxwire server is a program of its own.</summary>
        protected override VoxwireServer CreateServer(VoxwireServerParameters parameters)
        {
            throw new NotSupportedException("the server is voxwire-server; players run as clients");
        }

        /// <inheritdoc/>
        protected override void Update()
        {
            if (!isAsked && ConnectOnStart)
            {
                Connect();
            }
            if (IsInitialized)
            {
                if (isWanted && Mode == NetworkMode.None)
                {
                    Run();
                }
                else if (!isWanted && Mode != NetworkMode.None)
                {
                    Stop();
                }
            }
            base.Update();
        }

        /// <summary>The client tells what happens.</summary>
        internal void Tell(TransportEventKind kind, string words)
        {
            switch (kind)
            {
                case TransportEventKind.Refused:
                    // Asking the same again brings nothing.
                    Disconnect();
                    Debug.LogError("Voxwire: " + words);
                    break;
                case TransportEventKind.UdpBlocked:
                case TransportEventKind.Failed:
                    Debug.LogWarning("Voxwire: " + words);
                    break;
                default:
                    Debug.Log("Voxwire: " + words);
                    break;
            }
            if (News != null)
            {
                News(kind, words);
            }
        }

        private void Run()
        {
            try
            {
                RunAsClient(new VoxwireClientParameters(Settings()));
            }
            catch (FormatException wrong)
            {
                Tell(TransportEventKind.Refused, wrong.Message);
            }
        }

        private TransportSettings Settings()
        {
            var settings = new TransportSettings
            {
                Host = Host,
                Port = Port,
                Token = Encoding.UTF8.GetBytes(Token ?? ""),
                Udp = Udp,
                Fallback = FallBackToTcp,
                Direct = DirectPaths,
                // Dissonance makes a new client itself.
                Reconnect = false,
            };
            if (Tls)
            {
                settings.Tls = new TlsSettings
                {
                    ServerName = string.IsNullOrEmpty(CertificateName) ? null : CertificateName,
                    ClearUdp = ClearUdpDespiteTls,
                };
                foreach (var pinned in PinnedCertificates ?? new string[0])
                {
                    settings.Tls.Pin(pinned);
                }
            }
            return settings;
        }
    }
}
