using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.IO;
using System.Threading;
using Voxwire.Transport;

namespace Voxwire.Tests
{
    /// <summary>Connections that end at any time, in any way: nothing is thrown, and nothing of them is left.</summary>
    internal static class EndTests
    {
        /// <summary>
        /// Makes as many connections as it is told, one after the other, to a server that ends each, and counts what the system still holds of
        /// them. Arguments: the number, then settings.
        /// </summary>
        internal static int Leaks(string[] arguments)
        {
            var settings = Arguments.Settings(arguments, 1);
            var count = int.Parse(arguments[0]);
            // What the runtime opens once is there after some of them.
            End(settings, 20);
            var before = Held();
            End(settings, count);
            var after = Held();
            // Threads of TLS end a little later.
            for (var waits = 0; waits < 100 && after > before + 4; waits++)
            {
                Thread.Sleep(20);
                after = Held();
            }
            Console.WriteLine("held before " + before + " after " + after);
            return after <= before + 4 ? 0 : 1;
        }

        /// <summary>Disposes connections at all times of their life, while three threads use them. Arguments: settings.</summary>
        internal static int Races(string[] arguments)
        {
            var settings = Arguments.Settings(arguments, 0);
            var random = new Random(19);
            var failures = 0;
            var left = 0;
            for (var round = 0; round < 60; round++)
            {
                var connection = new TransportConnection(settings);
                var isOver = false;
                var threads = new List<Thread>();
                for (var user = 0; user < 3; user++)
                {
                    var does = user;
                    threads.Add(new Thread(() =>
                    {
                        try
                        {
                            while (!Volatile.Read(ref isOver))
                            {
                                Use(connection, does);
                            }
                        }
                        catch (Exception error)
                        {
                            Console.WriteLine(error);
                            Interlocked.Increment(ref failures);
                        }
                    }));
                }
                connection.Start();
                threads.ForEach(thread => thread.Start());
                Thread.Sleep(random.Next(60));
                connection.Dispose();
                connection.Dispose();
                Volatile.Write(ref isOver, true);
                threads.ForEach(thread => thread.Join());
                for (var waits = 0; waits < 500 && connection.IsRunning; waits++)
                {
                    Thread.Sleep(10);
                }
                left += connection.IsRunning ? 1 : 0;
            }
            Console.WriteLine("failures " + failures + " left " + left);
            return failures + left == 0 ? 0 : 1;
        }

        private static void Use(TransportConnection connection, int how)
        {
            var packet = new ArraySegment<byte>(new byte[100]);
            TransportEvent happened;
            switch (how)
            {
                case 0:
                    connection.SendReliable(packet);
                    break;
                case 1:
                    connection.SendDroppable(packet, connection.Statistics.SentByUdp > 5 ? 1 : 0);
                    break;
                default:
                    connection.TryReceive(out happened);
                    break;
            }
            Thread.Sleep(1);
        }

        private static void End(TransportSettings settings, int count)
        {
            var clock = Stopwatch.StartNew();
            var inbox = new Inbox(new EventQueue(settings.ReceiveQueue, settings.MaxPacket), settings.MaxPacket, () => true);
            for (var at = 0; at < count; at++)
            {
                var queue = new PacketQueue(8, settings.MaxPacket);
                try
                {
                    using (var link = new Link(settings, inbox, queue, queue, clock, () => false))
                    {
                        link.Greet(() => false, () => 1, () => { });
                        while (true)
                        {
                            if (!link.Turn())
                            {
                                link.Wait();
                            }
                        }
                    }
                }
                catch (TransportException)
                {
                    // As it should be.
                }
            }
        }

        /// <summary>Descriptors and threads of this process.</summary>
        private static int Held()
        {
            return Directory.GetFileSystemEntries("/proc/self/fd").Length + Directory.GetDirectories("/proc/self/task").Length;
        }
    }
}
