using System;
using System.Collections.Generic;
using System.Threading;

namespace Voxwire.Tests
{
    /// <summary>The lines of standard input, without waiting for them. Its end is <c>quit</c>.</summary>
    internal sealed class Commands
    {
        private readonly Queue<string> lines = new Queue<string>();

        internal Commands()
        {
            new Thread(ReadAll) { IsBackground = true }.Start();
        }

        /// <summary>The next line; null if there is none yet.</summary>
        internal string Next()
        {
            lock (lines)
            {
                return lines.Count == 0 ? null : lines.Dequeue();
            }
        }

        private void ReadAll()
        {
            string line;
            do
            {
                line = Console.ReadLine();
                lock (lines)
                {
                    lines.Enqueue(line ?? "quit");
                }
            }
            while (line != null);
        }
    }
}
