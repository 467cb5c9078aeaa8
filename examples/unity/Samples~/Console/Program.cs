using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Globalization;
using System.IO;
using System.Text;
using System.Threading;
using Voxwire.Transport;

namespace Voxwire.Samples
{
    /// <summary>A player on the console: joins a room, says a recording or repeats what it hears, and writes what is typed.</summary>
    internal static class Program
    {
        private const string Usage = "usage: console HOST[:PORT] NAME ROOM [--say FILE] [--echo] [--token TEXT] [--no-udp] [--direct]\n"
            + "       [--tls | --pin FILE.pem | --pin SHA256] [--seconds N]\n"
            + "  --say FILE     say a recording once somebody listens: frames of Opus, 20 ms each, a length of two bytes before each\n"
            + "  --echo         repeat what is heard\n"
            + "  --tls          speak TLS, to a server whose certificate the system trusts\n"
            + "  --pin WHAT     speak TLS, to a server that shows this certificate: a PEM file, or a SHA-256 fingerprint\n"
            + "  --seconds N    leave after this time\n"
            + "A line that is typed is sent as text. Ctrl-C ends the program.";

        private static int Main(string[] arguments)
        {
            var settings = new TransportSettings();
            string recording = null;
            var seconds = double.PositiveInfinity;
            var echoes = false;
            if (arguments.Length < 3)
            {
                return Wrong(null);
            }
            ReadAddress(arguments[0], settings);
            for (var at = 3; at < arguments.Length; at++)
            {
                var value = at + 1 < arguments.Length ? arguments[at + 1] : null;
                switch (arguments[at])
                {
                    case "--echo":
                        echoes = true;
                        break;
                    case "--no-udp":
                        settings.Udp = false;
                        break;
                    case "--direct":
                        settings.Direct = true;
                        break;
                    case "--tls":
                        settings.Tls = new TlsSettings();
                        break;
                    case "--say":
                    case "--token":
                    case "--pin":
                    case "--seconds":
                        if (value == null)
                        {
                            return Wrong(arguments[at] + " needs a value");
                        }
                        if (arguments[at] == "--say")
                        {
                            recording = value;
                        }
                        else if (arguments[at] == "--seconds")
                        {
                            if (!double.TryParse(value, NumberStyles.Float, CultureInfo.InvariantCulture, out seconds) || !(seconds > 0))
                            {
                                return Wrong("--seconds " + value + ": a number above 0 is expected");
                            }
                        }
                        else if (arguments[at] == "--token")
                        {
                            settings.Token = Encoding.UTF8.GetBytes(value);
                        }
                        else
                        {
                            settings.Tls = new TlsSettings();
                            var problem = Pin(settings.Tls, value);
                            if (problem != null)
                            {
                                return Wrong("--pin " + value + ": " + problem);
                            }
                        }
                        at++;
                        break;
                    default:
                        return Wrong("no such option: " + arguments[at]);
                }
            }
            List<ArraySegment<byte>> frames;
            try
            {
                frames = recording == null ? null : ReadFrames(recording);
            }
            catch (IOException error)
            {
                return Wrong(error.Message);
            }
            using (var client = new VoiceClient(arguments[1], settings))
            {
                return Run(client, arguments[2], frames, echoes, seconds);
            }
        }

        private static int Run(VoiceClient client, string room, List<ArraySegment<byte>> frames, bool echoes, double seconds)
        {
            var number = RoomId.Of(room);
            var heard = new Dictionary<ushort, int>();
            var isOver = false;
            client.News += (kind, words) =>
            {
                Console.WriteLine(words);
                isOver |= kind == TransportEventKind.Refused;
            };
            client.Text += (from, text) => Console.WriteLine(from + ": " + text);
            client.Voice += (speaker, frame) =>
            {
                int count;
                heard.TryGetValue(speaker, out count);
                heard[speaker] = count + 1;
                if (count % 50 == 0)
                {
                    Console.WriteLine("hears " + client.Describe(speaker) + ": " + (count + 1) + " frames");
                }
                if (echoes)
                {
                    client.Say(number, frame);
                }
            };
            client.Join(room);
            client.Start();
            var running = Stopwatch.StartNew();
            var typed = new Queue<string>();
            new Thread(() => ReadLines(typed)) { IsBackground = true }.Start();
            var clock = new Stopwatch();
            var said = 0;
            while (!isOver)
            {
                client.Update();
                string line;
                while (TryTake(typed, out line))
                {
                    if (line.Length > 0 && !client.Write(room, line))
                    {
                        Console.WriteLine("nobody listens to " + room);
                    }
                }
                if (frames != null && said < frames.Count)
                {
                    if (!clock.IsRunning && client.IsJoined && client.Listeners(room) > 0)
                    {
                        Console.WriteLine("says " + frames.Count + " frames");
                        clock.Start();
                    }
                    // Half a second later the others know this player, too: voice of players that they do not know is dropped.
                    while (clock.IsRunning && said < frames.Count && clock.ElapsedMilliseconds >= 500 + 20L * said)
                    {
                        client.Say(number, frames[said++]);
                    }
                    if (said == frames.Count)
                    {
                        Console.WriteLine("has said everything");
                    }
                }
                if (running.Elapsed.TotalSeconds >= seconds)
                {
                    Console.WriteLine("leaves " + room);
                    return 0;
                }
                Thread.Sleep(5);
            }
            return 1;
        }

        /// <summary>A name, an address, or either with a port; an IPv6 address with a port is in brackets.</summary>
        private static void ReadAddress(string text, TransportSettings settings)
        {
            var colon = text.LastIndexOf(':');
            var isPlain = colon < 0 || (text.IndexOf(':') != colon && !text.StartsWith("["));
            int port;
            if (!isPlain && int.TryParse(text.Substring(colon + 1), out port))
            {
                settings.Port = port;
                text = text.Substring(0, colon);
            }
            settings.Host = text.Trim('[', ']');
        }

        /// <summary>Trusts the certificate in a file, or of a fingerprint. Returns why that is not possible.</summary>
        private static string Pin(TlsSettings tls, string value)
        {
            var isFile = File.Exists(value);
            try
            {
                tls.Pin(isFile ? File.ReadAllText(value) : value);
                return null;
            }
            catch (FormatException error)
            {
                return isFile ? error.Message : "there is no such file, and it is no fingerprint: " + error.Message;
            }
            catch (Exception error) when (error is IOException || error is UnauthorizedAccessException)
            {
                return error.Message;
            }
        }

        private static List<ArraySegment<byte>> ReadFrames(string file)
        {
            var bytes = File.ReadAllBytes(file);
            var frames = new List<ArraySegment<byte>>();
            for (var at = 0; at + 2 <= bytes.Length;)
            {
                var length = bytes[at] << 8 | bytes[at + 1];
                if (at + 2 + length > bytes.Length)
                {
                    throw new IOException(file + " is cut off");
                }
                frames.Add(new ArraySegment<byte>(bytes, at + 2, length));
                at += 2 + length;
            }
            return frames;
        }

        private static void ReadLines(Queue<string> typed)
        {
            string line;
            // The end of the input does not end the program, which may run in the background.
            while ((line = Console.ReadLine()) != null)
            {
                lock (typed)
                {
                    typed.Enqueue(line);
                }
            }
        }

        private static bool TryTake(Queue<string> typed, out string line)
        {
            lock (typed)
            {
                line = typed.Count == 0 ? null : typed.Dequeue();
                return line != null;
            }
        }

        private static int Wrong(string why)
        {
            Console.Error.WriteLine((why == null ? "" : why + "\n") + Usage);
            return 2;
        }
    }
}
