using System;
using System.Threading;
using Voxwire.Transport;

namespace Voxwire.Tests
{
    /// <summary>
    /// The transport without Dissonance. Arguments: settings; <c>changed-later</c> changes the object behind them once the connection is made.
    /// Commands: <c>reliable COUNT LENGTH</c> and <c>droppable COUNT LENGTH</c>, packets that begin with a number of four bytes; <c>counters</c>;
    /// <c>dispose</c>, which says whether the network thread has ended a second later; <c>quit</c>.
    /// </summary>
    internal sealed class TransportPlayer
    {
        private readonly TransportConnection connection;
        private int numbered;

        private TransportPlayer(TransportConnection connection)
        {
            this.connection = connection;
        }

        internal static int Run(string[] arguments)
        {
            var isChanged = Array.IndexOf(arguments, "changed-later") >= 0;
            var settings = Arguments.Settings(Array.FindAll(arguments, argument => argument != "changed-later"), 0);
            using (var connection = new TransportConnection(settings))
            {
                if (isChanged)
                {
                    settings.Host = "voice.invalid";
                    settings.MaxPacket = 1;
                    settings.Token = null;
                }
                connection.Start();
                new TransportPlayer(connection).Run(new Commands());
            }
            return 0;
        }

        private void Run(Commands commands)
        {
            while (true)
            {
                TransportEvent happened;
                while (connection.TryReceive(out happened))
                {
                    Console.WriteLine(happened.Kind == TransportEventKind.Packet
                        ? "packet " + happened.Lane + " " + Hex.Encode(happened.Packet)
                        : "news " + happened.Kind + ": " + happened.Words);
                }
                string command;
                while ((command = commands.Next()) != null)
                {
                    if (command == "quit")
                    {
                        return;
                    }
                    Do(command.Split(' '));
                }
                Thread.Sleep(2);
            }
        }

        private void Do(string[] words)
        {
            switch (words[0])
            {
                case "reliable":
                case "droppable":
                    Send(words[0] == "reliable", int.Parse(words[1]), int.Parse(words[2]));
                    break;
                case "counters":
                    Console.WriteLine("counters dropped " + connection.Statistics.DroppedOut);
                    break;
                case "dispose":
                    connection.Dispose();
                    for (var waits = 0; waits < 100 && connection.IsRunning; waits++)
                    {
                        Thread.Sleep(10);
                    }
                    Console.WriteLine(connection.IsRunning ? "runs on" : "ended");
                    break;
            }
        }

        private void Send(bool isReliable, int count, int length)
        {
            var packet = new byte[length];
            var taken = 0;
            for (var at = 0; at < count; at++)
            {
                Wire.WriteU32(packet, 0, (uint)numbered);
                if (!isReliable)
                {
                    connection.SendDroppable(new ArraySegment<byte>(packet));
                }
                else if (!connection.SendReliable(new ArraySegment<byte>(packet)))
                {
                    break;
                }
                numbered++;
                taken++;
            }
            Console.WriteLine("sent " + taken);
        }
    }
}
