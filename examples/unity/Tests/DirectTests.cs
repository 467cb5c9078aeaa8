using System;
using System.Net;
using System.Net.Sockets;
using Voxwire.Transport;

namespace Voxwire.Tests
{
    /// <summary>What direct paths are made of: the socket that asks for each sender, and the packets that wait for their acks.</summary>
    internal static class DirectTests
    {
        private static int failures;

        /// <summary>The argument is the way that this build takes: <c>System</c> or <c>Runtime</c>.</summary>
        internal static int Run(string way)
        {
            Check("the build", Receive(null) == way);
            Check("a first look that fails", Receive(Failing(3)) == "Unknown Unknown Unknown " + way);
            Check("a system without the function", Receive((socket, to, flags, from) => throw new DllNotFoundException()) == "Runtime");
            Check("a descriptor of something else", Receive((socket, to, flags, from) => to.Length) == "Runtime");
            Check("nothing there", IsSoonBack());
            Check("places after a clear", ClearsPlaces());
            Console.WriteLine(failures + " failures");
            return failures == 0 ? 0 : 1;
        }

        /// <summary>Takes four datagrams, each with its sender. Returns the ways that were known behind each, without repetitions at the end.</summary>
        private static string Receive(Func<Socket, byte[], int, byte[], int> receive)
        {
            using (var sender = new UdpClient(new IPEndPoint(IPAddress.Loopback, 0)))
            using (var socket = new DatagramSocket((IPEndPoint)sender.Client.LocalEndPoint, true, receive))
            {
                // The other side learns where to answer.
                socket.Send(new byte[1], 1);
                IPEndPoint client = null;
                sender.Receive(ref client);
                var ways = "";
                var last = "";
                var buffer = new byte[64];
                for (byte number = 1; number <= 4; number++)
                {
                    sender.Send(new byte[number], number, client);
                    socket.Wait(5000);
                    Check("datagram " + number, socket.Receive(buffer) == number && socket.IsFromServer);
                    var way = socket.Way.ToString();
                    if (way != last || way == "Unknown")
                    {
                        ways += " " + way;
                    }
                    last = way;
                }
                return ways.Trim();
            }
        }

        /// <summary>The system's function, which fails so many times first.</summary>
        private static Func<Socket, byte[], int, byte[], int> Failing(int times)
        {
            return (socket, to, flags, from) => times-- > 0 ? -1 : SystemReceive.From(socket, to, flags, from);
        }

        /// <summary>Even on a socket that would wait, and has nothing, the system's function comes back.</summary>
        private static bool IsSoonBack()
        {
            using (var socket = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp))
            {
                socket.Bind(new IPEndPoint(IPAddress.Loopback, 0));
                try
                {
                    return SystemReceive.From(socket, new byte[8], 0, new byte[SystemReceive.AddressLength]) < 0;
                }
                catch (NotSupportedException)
                {
                    return true;
                }
            }
        }

        private static bool ClearsPlaces()
        {
            var unacked = new Unacked(4);
            unacked.TryAdd(new byte[8], 0, 8);
            var place = unacked.First;
            unacked.TryAdd(new byte[8], 0, 8);
            unacked.RemoveFirst();
            unacked.Clear();
            unacked.TryAdd(new byte[8], 0, 8);
            return unacked.First == place;
        }

        private static void Check(string what, bool isRight)
        {
            if (!isRight)
            {
                Console.WriteLine(what + " is wrong");
                failures++;
            }
        }
    }
}
