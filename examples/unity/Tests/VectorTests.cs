using System;
using System.Collections.Generic;
using System.IO;
using Voxwire.Transport;

namespace Voxwire.Tests
{
    /// <summary>Compares the transport's bytes with <c>transport/tests/vectors/tcp_udp.txt</c>.</summary>
    internal static class VectorTests
    {
        internal static int Run(string file)
        {
            var failures = 0;
            var compared = 0;
            foreach (var line in File.ReadAllLines(file))
            {
                if (line.Length == 0 || line[0] == '#')
                {
                    continue;
                }
                var words = line.Split(' ');
                var fields = new Dictionary<string, string>();
                for (var at = 3; at < words.Length; at++)
                {
                    var parts = words[at].Split('=');
                    fields[parts[0]] = parts[1];
                }
                var problem = Compare(Hex.Decode(words[1]), words[2], fields);
                if (problem != null)
                {
                    Console.WriteLine(words[0] + ": " + problem);
                    failures++;
                }
                compared++;
            }
            Console.WriteLine(compared + " vectors, " + failures + " failures");
            return failures == 0 ? 0 : 1;
        }

        /// <summary>What is wrong; null for nothing.</summary>
        private static string Compare(byte[] bytes, string kind, Dictionary<string, string> fields)
        {
            switch (kind)
            {
                case "client-hello":
                    return Differs(bytes, Wire.ClientHello(fields["udp"] == "1", fields["direct"] == "1", Hex.Decode(fields["token"])));
                case "no-client-hello":
                    // It is the server that reads those.
                    return null;
                case "server-hello":
                    if (!Wire.MayBeHello(bytes, bytes.Length))
                    {
                        return "is not read";
                    }
                    var hello = Wire.ReadServerHello(bytes);
                    var isSame = hello.Admitted == (fields["admitted"] == "1") && hello.UdpPort == int.Parse(fields["port"])
                        && Text(hello.Tag) == fields["tag"] && Text(hello.Cookie) == fields["cookie"];
                    return isSame ? null : "is read as something else";
                case "no-server-hello":
                    return Wire.MayBeHello(bytes, bytes.Length) ? "is read" : null;
                case "unit":
                    var body = Hex.Decode(fields["body"]);
                    var unit = new byte[Wire.UnitHead + body.Length];
                    Wire.WriteUnitHead(unit, 0, byte.Parse(fields["kind"]), body.Length);
                    body.CopyTo(unit, Wire.UnitHead);
                    return Differs(bytes, unit);
                case "datagram":
                    return Differs(bytes, Datagram(fields));
                default:
                    return "an unknown kind of vector: " + kind;
            }
        }

        private static byte[] Datagram(Dictionary<string, string> fields)
        {
            var kind = byte.Parse(fields["kind"]);
            var datagram = new byte[Wire.ProbeLength];
            if (kind == Wire.Probe || kind == Wire.ProbeAck)
            {
                Wire.WriteProbe(datagram, kind, Hex.Decode(fields["key"]), Number(fields["first"]), Number(fields["second"]));
                return datagram;
            }
            if (kind == Wire.PathReliable || kind == Wire.PathReliableAck)
            {
                Wire.WriteNumber(datagram, Number(fields["epoch"]), (int)Number(fields["number"]));
                Array.Resize(ref datagram, Wire.DatagramHead + Wire.NumberLength);
            }
            else
            {
                Array.Resize(ref datagram, Wire.DatagramHead);
            }
            Wire.WriteDatagramHead(datagram, kind, Hex.Decode(fields["tag"]));
            var body = Hex.Decode(fields["body"]);
            var start = datagram.Length;
            Array.Resize(ref datagram, start + body.Length);
            body.CopyTo(datagram, start);
            return datagram;
        }

        private static uint Number(string hex)
        {
            return Convert.ToUInt32(hex, 16);
        }

        private static string Text(byte[] bytes)
        {
            return Hex.Encode(new ArraySegment<byte>(bytes));
        }

        private static string Differs(byte[] expected, byte[] written)
        {
            return Text(expected) == Text(written) ? null : "is written as " + Text(written);
        }
    }
}
