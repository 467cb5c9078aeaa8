using System;
using System.Collections.Generic;
using System.Text;
using Voxwire.Samples;

namespace Voxwire.Tests
{
    /// <summary>
    /// The codec, driven by lines: <c>decode HEX</c> prints the packet as JSON, <c>again HEX</c> decodes and encodes it, <c>room HEX</c> prints
    /// the number of the room of this name. A packet that is none prints <c>error</c>.
    /// </summary>
    internal static class CodecTests
    {
        internal static int Run()
        {
            var packet = new Packet();
            var reader = new PacketReader();
            var writer = new PacketWriter();
            string line;
            while ((line = Console.ReadLine()) != null)
            {
                var words = line.Split(' ');
                var bytes = new ArraySegment<byte>(Hex.Decode(words[1]));
                if (words[0] == "room")
                {
                    Console.WriteLine(RoomId.Of(Encoding.UTF8.GetString(bytes.Array)));
                }
                else if (!reader.TryRead(bytes, packet))
                {
                    Console.WriteLine("error");
                }
                else
                {
                    Console.WriteLine(words[0] == "again" ? Hex.Encode(writer.Write(packet)) : Json(packet));
                }
                Console.Out.Flush();
            }
            return 0;
        }

        private static string Json(Packet packet)
        {
            var fields = new List<string> { Field("message", Quoted(packet.Type.ToString())) };
            if (packet.Type != PacketType.HandshakeRequest)
            {
                fields.Add(Field("session", packet.Session));
            }
            switch (packet.Type)
            {
                case PacketType.ClientState:
                    fields.Add(Field("name", Quoted(packet.Name)));
                    fields.Add(Field("client", packet.Client));
                    fields.Add(Codec(packet.Codec));
                    fields.Add(Field("rooms", List(packet.Rooms, Quoted)));
                    break;
                case PacketType.VoiceData:
                    fields.Add(Field("sender", packet.Client));
                    fields.Add(Field("options", packet.Options));
                    fields.Add(Field("sequence", packet.Sequence));
                    fields.Add(Field("channels", List(packet.Channels,
                        channel => Object(Field("bitfield", channel.Bitfield), Field("recipient", channel.Recipient)))));
                    fields.Add(Field("frame", Quoted(Hex.Encode(packet.Frame))));
                    break;
                case PacketType.TextData:
                    fields.Add(Field("recipient", Quoted(packet.IsToPlayer ? "player" : "room")));
                    fields.Add(Field("sender", packet.Client));
                    fields.Add(Field("target", packet.Target));
                    fields.Add(Field("text", Quoted(packet.Text)));
                    break;
                case PacketType.HandshakeRequest:
                    fields.Add(Codec(packet.Codec));
                    fields.Add(Field("name", Quoted(packet.Name)));
                    break;
                case PacketType.HandshakeResponse:
                    fields.Add(Field("client", packet.Client));
                    fields.Add(Field("clients", List(packet.Clients,
                        client => Object(Field("name", Quoted(client.Name)), Field("client", client.Client), Codec(client.Codec)))));
                    fields.Add(Field("rooms", List(packet.Rooms, Quoted)));
                    fields.Add(Field("channels", List(packet.RoomListeners,
                        room => Object(Field("room", room.Room), Field("listeners", List(room.Listeners, client => client.ToString()))))));
                    break;
                case PacketType.ServerRelayReliable:
                case PacketType.ServerRelayUnreliable:
                    fields.Add(Field("destinations", List(packet.Destinations, client => client.ToString())));
                    fields.Add(Field("payload", Quoted(Hex.Encode(packet.Payload))));
                    break;
                case PacketType.DeltaClientState:
                    fields.Add(Field("joined", packet.Joined ? "true" : "false"));
                    fields.Add(Field("client", packet.Client));
                    fields.Add(Field("room", Quoted(packet.Room)));
                    break;
                case PacketType.RemoveClient:
                case PacketType.HandshakeP2P:
                    fields.Add(Field("client", packet.Client));
                    break;
            }
            return Object(fields.ToArray());
        }

        private static string Codec(CodecSettings codec)
        {
            return Field("codec", codec.Codec) + "," + Field("frame_size", codec.FrameSize) + "," + Field("sample_rate", codec.SampleRate);
        }

        private static string Field(string name, object value)
        {
            return "\"" + name + "\":" + value;
        }

        private static string Object(params string[] fields)
        {
            return "{" + string.Join(",", fields) + "}";
        }

        private static string List<T>(List<T> items, Func<T, string> json)
        {
            return "[" + string.Join(",", items.ConvertAll(item => json(item)).ToArray()) + "]";
        }

        private static string Quoted(string text)
        {
            if (text == null)
            {
                return "null";
            }
            var quoted = new StringBuilder("\"");
            foreach (var unit in text)
            {
                if (unit < ' ' || unit > '~' || unit == '"' || unit == '\\')
                {
                    quoted.Append("\\u" + ((int)unit).ToString("x4"));
                }
                else
                {
                    quoted.Append(unit);
                }
            }
            return quoted.Append('"').ToString();
        }
    }
}
