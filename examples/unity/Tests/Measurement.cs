using System;
using System.Diagnostics;
using System.IO;
using System.Threading;
using Voxwire.Transport;

namespace Voxwire.Tests
{
    /// <summary>Measures what the network thread and this one allocate, and how much memory the process has.</summary>
    internal sealed class Measurement
    {
        private readonly Stopwatch clock = Stopwatch.StartNew();
        private long networkBytes;
        private long networkTurns;

        internal Measurement(TransportConnection connection)
        {
            connection.AfterTurn = () =>
            {
                Interlocked.Exchange(ref networkBytes, GC.GetAllocatedBytesForCurrentThread());
                Interlocked.Increment(ref networkTurns);
            };
        }

        /// <summary>Does <paramref name="step"/> 50 times a second, after a quarter of the time to warm up, two seconds at most.</summary>
        internal string Run(double seconds, Action step)
        {
            Steps(Math.Min(seconds / 4, 2), step);
            var collections = GC.CollectionCount(0);
            var resident = Resident();
            var network = Interlocked.Read(ref networkBytes);
            var turns = Interlocked.Read(ref networkTurns);
            var here = GC.GetAllocatedBytesForCurrentThread();
            var steps = Steps(seconds / 2, step);
            here = GC.GetAllocatedBytesForCurrentThread() - here;
            // Asking for it allocates.
            var middle = Resident();
            var later = GC.GetAllocatedBytesForCurrentThread();
            steps += Steps(seconds / 2, step);
            here += GC.GetAllocatedBytesForCurrentThread() - later;
            network = Interlocked.Read(ref networkBytes) - network;
            turns = Interlocked.Read(ref networkTurns) - turns;
            return "allocated here " + here + " network " + network + " steps " + steps + " turns " + turns + " collections "
                + (GC.CollectionCount(0) - collections) + " resident_kib " + resident + " " + middle + " " + Resident();
        }

        private long Steps(double seconds, Action step)
        {
            var start = clock.ElapsedMilliseconds;
            long steps = 0;
            while (clock.ElapsedMilliseconds - start < seconds * 1000)
            {
                if (clock.ElapsedMilliseconds - start >= steps * 20)
                {
                    step();
                    steps++;
                }
                else
                {
                    Thread.Sleep(2);
                }
            }
            return steps;
        }

        private static long Resident()
        {
            foreach (var line in File.ReadAllLines("/proc/self/status"))
            {
                if (line.StartsWith("VmRSS:"))
                {
                    return long.Parse(line.Replace("VmRSS:", "").Replace("kB", "").Trim());
                }
            }
            return 0;
        }
    }
}
