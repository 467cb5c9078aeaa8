using System;

namespace Voxwire.Tests
{
    /// <summary>The tests that examples/client/tests/unity.rs runs, a part at a time.</summary>
    internal static class Program
    {
        private static int Main(string[] arguments)
        {
            var rest = new string[Math.Max(0, arguments.Length - 1)];
            Array.Copy(arguments, Math.Min(1, arguments.Length), rest, 0, rest.Length);
            switch (arguments.Length == 0 ? "" : arguments[0])
            {
                case "player":
                    return Player.Run(rest);
                case "adapter":
                    return AdapterPlayer.Run(rest);
                case "transport":
                    return TransportPlayer.Run(rest);
                case "leaks":
                    return EndTests.Leaks(rest);
                case "races":
                    return EndTests.Races(rest);
                case "direct":
                    return DirectTests.Run(rest[0]);
                case "codec":
                    return CodecTests.Run();
                case "vectors":
                    return VectorTests.Run(rest[0]);
                default:
                    Console.Error.WriteLine("usage: player NAME [host=HOST] [port=PORT] [token=TOKEN] [no-udp] .. | adapter NAME PORT TOKEN [direct]");
                    Console.Error.WriteLine("  | transport [SETTING] .. | leaks COUNT [SETTING] .. | races [SETTING] .. | direct WAY | codec | vectors FILE");
                    return 2;
            }
        }
    }
}
