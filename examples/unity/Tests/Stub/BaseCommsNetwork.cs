using System;
using System.Diagnostics;
using Dissonance.Networking;
using UnityEngine;

namespace Dissonance
{
    /// <summary>Written from Dissonance's public documentation alone, for a test of the adapter without it.</summary>
    public enum NetworkMode
    {
        None,
        Host,
        DedicatedServer,
        Client,
    }
}

namespace Dissonance.Networking
{
    public interface ICommsNetworkState
    {
        string PlayerName { get; }
    }

    /// <summary>The names and signatures of the public documentation; what they do is the least that the documentation asks for.</summary>
    public abstract class BaseCommsNetwork<TServer, TClient, TPeer, TClientParam, TServerParam> : MonoBehaviour, ICommsNetworkState
        where TServer : BaseServer<TServer, TClient, TPeer>
        where TClient : BaseClient<TServer, TClient, TPeer>
        where TPeer : struct, IEquatable<TPeer>
    {
        private const int RestartInterval = 500;

        private readonly Stopwatch clock = Stopwatch.StartNew();
        private TClientParam parameters;
        private long restartAt;

        public string PlayerName { get; private set; }

        public bool IsInitialized { get; private set; }

        public NetworkMode Mode { get; private set; }

        protected TClient Client { get; private set; }

        /// <summary>What the test has of the client.</summary>
        public TClient ClientOfTest
        {
            get { return Client; }
        }

        /// <summary>What Unity and DissonanceComms do at the start.</summary>
        public void InitializeByTest(string playerName)
        {
            PlayerName = playerName;
            Initialize();
            IsInitialized = true;
        }

        /// <summary>What Unity does each frame.</summary>
        public void UpdateByTest()
        {
            Update();
        }

        protected virtual void Initialize()
        {
        }

        protected abstract TServer CreateServer(TServerParam connectionParameters);

        protected abstract TClient CreateClient(TClientParam connectionParameters);

        protected virtual void Update()
        {
            if (Mode == NetworkMode.None)
            {
                return;
            }
            if (Client != null && Client.IsOver)
            {
                Client = null;
                restartAt = clock.ElapsedMilliseconds + RestartInterval;
            }
            if (Client == null && clock.ElapsedMilliseconds >= restartAt)
            {
                Client = CreateClient(parameters);
                Client.Connect();
            }
            if (Client != null && !Client.IsOver)
            {
                Client.Update();
            }
        }

        protected void RunAsClient(TClientParam clientParameters)
        {
            Stop();
            parameters = clientParameters;
            restartAt = 0;
            Mode = NetworkMode.Client;
        }

        protected void Stop()
        {
            if (Client != null && !Client.IsOver)
            {
                Client.Disconnect();
            }
            Client = null;
            Mode = NetworkMode.None;
        }
    }

    public abstract class BaseServer<TServer, TClient, TPeer>
        where TServer : BaseServer<TServer, TClient, TPeer>
        where TClient : BaseClient<TServer, TClient, TPeer>
        where TPeer : struct, IEquatable<TPeer>
    {
        public virtual void Connect()
        {
        }

        public virtual void Disconnect()
        {
        }

        protected abstract void ReadMessages();

        protected abstract void SendReliable(TPeer connection, ArraySegment<byte> packet);

        protected abstract void SendUnreliable(TPeer connection, ArraySegment<byte> packet);
    }
}
