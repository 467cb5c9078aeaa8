using System;
using System.Threading;
using Voxwire.Dissonance;

namespace Voxwire.Tests
{
    /// <summary>
    /// The adapter on a stub of Dissonance, driven as Unity and Dissonance drive it. Arguments: the name, the port, the token, then
    /// <c>direct</c>. Commands: <c>say HEX</c>, <c>state</c>, <c>disconnect</c>, <c>connect</c>, <c>token TOKEN</c>, <c>quit</c>.
    /// </summary>
    internal static class AdapterPlayer
    {
        internal static int Run(string[] arguments)
        {
            var network = new VoxwireCommsNetwork
            {
                Port = int.Parse(arguments[1]),
                Token = arguments[2],
                DirectPaths = arguments.Length > 3 && arguments[3] == "direct",
            };
            var commands = new Commands();
            network.InitializeByTest(arguments[0]);
            VoxwireClient known = null;
            while (true)
            {
                network.UpdateByTest();
                var client = network.ClientOfTest;
                if (client != known && client != null)
                {
                    client.VoiceOfTest += (speaker, frame) => Console.WriteLine("voice " + speaker + " " + Hex.Encode(frame));
                }
                known = client;
                string command;
                while ((command = commands.Next()) != null)
                {
                    if (command == "quit")
                    {
                        network.Disconnect();
                        network.UpdateByTest();
                        return 0;
                    }
                    Do(network, command.Split(new[] { ' ' }, 2));
                }
                Thread.Sleep(5);
            }
        }

        private static void Do(VoxwireCommsNetwork network, string[] words)
        {
            switch (words[0])
            {
                case "say":
                    network.ClientOfTest.SayByTest(Hex.Decode(words[1]));
                    break;
                case "state":
                    var state = network.ClientOfTest == null ? "no client" : network.ClientOfTest.StateOfTest;
                    Console.WriteLine("state " + network.Mode + " " + state);
                    break;
                case "disconnect":
                    network.Disconnect();
                    break;
                case "connect":
                    network.Connect();
                    break;
                case "token":
                    network.Token = words[1];
                    break;
            }
        }
    }
}
