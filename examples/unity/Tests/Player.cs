using System;
using System.Globalization;
using System.Text;
using System.Threading;
using Voxwire.Samples;
using Voxwire.Transport;

namespace Voxwire.Tests
{
    /// <summary>
    /// A player that does what standard input says, a command a line, and prints what happens:
    /// <c>join ROOM</c>, <c>leave ROOM</c>, <c>say ROOM HEX</c>, <c>text ROOM WORDS</c>, <c>listeners ROOM</c>, <c>counters</c>,
    /// <c>measure SECONDS ROOM [PATH]</c>, <c>halt</c> (take no events until <c>go</c>), <c>quit</c>.
    /// </summary>
    internal sealed class Player
    {
        private readonly VoiceClient client;
        private readonly Commands commands = new Commands();
        private readonly Measurement measurement;
        private bool isQuiet;
        private bool isHalted;
        private long heard;

        private Player(VoiceClient client)
        {
            this.client = client;
            measurement = new Measurement(client.Connection);
            client.Voice += OnVoice;
            client.Text += (from, text) => Print("text " + from + " " + text);
            client.News += (kind, words) => Print("news " + kind + ": " + words);
        }

        /// <summary>Arguments: the name, then settings.</summary>
        internal static int Run(string[] arguments)
        {
            var settings = Arguments.Settings(arguments, 1);
            using (var client = new VoiceClient(arguments[0], settings))
            {
                new Player(client).Run();
            }
            return 0;
        }

        private void Run()
        {
            client.Start();
            while (true)
            {
                if (!isHalted)
                {
                    client.Update();
                }
                string command;
                while ((command = commands.Next()) != null)
                {
                    if (command == "quit")
                    {
                        return;
                    }
                    Do(command.Split(new[] { ' ' }, 3));
                }
                Thread.Sleep(2);
            }
        }

        private void Do(string[] words)
        {
            switch (words[0])
            {
                case "join":
                    client.Join(words[1]);
                    break;
                case "leave":
                    client.Leave(words[1]);
                    break;
                case "say":
                    if (!client.Say(RoomId.Of(words[1]), new ArraySegment<byte>(Hex.Decode(words[2]))))
                    {
                        Print("nobody listens");
                    }
                    break;
                case "text":
                    if (!client.Write(words[1], words[2]))
                    {
                        Print("nobody listens");
                    }
                    break;
                case "listeners":
                    Print("listeners " + client.Listeners(words[1]));
                    break;
                case "counters":
                    PrintCounters();
                    break;
                case "measure":
                    var where = words[2].Split(' ');
                    Measure(double.Parse(words[1], CultureInfo.InvariantCulture), RoomId.Of(where[0]), where.Length > 1 ? int.Parse(where[1]) : 0);
                    break;
                case "halt":
                case "go":
                    isHalted = words[0] == "halt";
                    break;
                default:
                    Print("no such command: " + words[0]);
                    break;
            }
        }

        private void PrintCounters()
        {
            var counters = client.Connection.Statistics;
            Print("counters udp " + counters.SentByUdp + " " + counters.ReceivedByUdp + " tcp " + counters.SentByTcp + " " + counters.ReceivedByTcp
                + " direct " + counters.SentDirectly + " " + counters.ReceivedDirectly + " dropped " + counters.DroppedOut + " " + counters.DroppedIn);
        }

        /// <summary>
        /// Speaks 50 frames a second, as a game does, and prints what both threads allocated. On a direct path, if one is named, something
        /// reliable goes beside each frame, which the other end ignores.
        /// </summary>
        private void Measure(double seconds, ushort room, int path)
        {
            var frame = new ArraySegment<byte>(new byte[80]);
            var ignored = new PacketWriter().Write(new Packet { Type = PacketType.RemoveClient, Session = 1 });
            isQuiet = true;
            heard = 0;
            long said = 0;
            Action step = () =>
            {
                client.Update();
                said += client.Say(room, frame) ? 1 : 0;
                if (path != 0)
                {
                    client.Connection.SendReliable(ignored, path);
                }
            };
            var result = measurement.Run(seconds, step);
            // The last ones are on their way.
            for (var waits = 0; waits < 50; waits++)
            {
                Thread.Sleep(10);
                client.Update();
            }
            isQuiet = false;
            Print(result + " said " + said + " heard " + heard);
        }

        private void OnVoice(ushort speaker, ArraySegment<byte> frame)
        {
            heard++;
            if (!isQuiet)
            {
                Print("voice " + client.NameOf(speaker) + " " + Hex.Encode(frame));
            }
        }

        private void Print(string line)
        {
            Console.WriteLine(line);
            Console.Out.Flush();
        }
    }

    /// <summary>Bytes as text.</summary>
    internal static class Hex
    {
        internal static string Encode(ArraySegment<byte> bytes)
        {
            var text = new StringBuilder();
            for (var at = 0; at < bytes.Count; at++)
            {
                text.Append(bytes.Array[bytes.Offset + at].ToString("x2"));
            }
            return text.ToString();
        }

        internal static byte[] Decode(string text)
        {
            var bytes = new byte[text.Length / 2];
            for (var at = 0; at < bytes.Length; at++)
            {
                bytes[at] = Convert.ToByte(text.Substring(2 * at, 2), 16);
            }
            return bytes;
        }
    }
}
