using System;
using System.Net;

namespace Voxwire.Transport
{
    /// <summary>
    /// Whether the TCP side is still there. What this side has sent last may be on its way for a quarter of an hour before the system gives up, and
    /// a session may have nothing to say. Two signs are seen sooner, while UDP does not get through. Times are in milliseconds.
    /// </summary>
    internal sealed class Liveness : IDisposable
    {
        /// <summary>For how long nothing has come in by TCP before there is a doubt.</summary>
        private const int Silence = 10000;

        /// <summary>How long a new connection may take.</summary>
        private const int ConnectTimeout = 5000;

        /// <summary>When to look again after one that was made.</summary>
        private const int Again = 30000;

        private readonly IPEndPoint server;
        private Connecting.Attempt attempt;
        private long attemptedAt;
        private long nextAttempt;
        private long confirmedAt;
        private bool confirms;

        internal Liveness(IPEndPoint server)
        {
            this.server = server;
        }

        /// <summary>A CHALLENGE is answered by TCP: BOUND has to come in there.</summary>
        internal void OnConfirm(long now)
        {
            if (!confirms)
            {
                confirms = true;
                confirmedAt = now;
            }
        }

        /// <summary>BOUND has come in.</summary>
        internal void OnBound()
        {
            confirms = false;
            Dispose();
        }

        /// <summary>
        /// Why the connection counts as lost; null if it does not. <paramref name="lastSign"/>: when something came in by TCP last, or UDP was
        /// still up; <paramref name="wasUp"/>: UDP got through before, and does not any more.
        /// </summary>
        internal string Judge(long now, long lastSign, bool wasUp)
        {
            if (now - lastSign < Silence)
            {
                confirms &= lastSign < confirmedAt;
                Dispose();
                return null;
            }
            if (confirms)
            {
                Dispose();
                return now - confirmedAt < Silence ? null : "the server answers by UDP, and does not hear this client by TCP any more";
            }
            return wasUp ? Try(now) : null;
        }

        public void Dispose()
        {
            if (attempt != null)
            {
                attempt.Dispose();
                attempt = null;
            }
        }

        /// <summary>Sees whether the server takes another connection, which is closed at once.</summary>
        private string Try(long now)
        {
            if (attempt == null)
            {
                if (now >= nextAttempt)
                {
                    attempt = new Connecting.Attempt(server);
                    attemptedAt = now;
                }
                return null;
            }
            if (!attempt.IsOver)
            {
                return now - attemptedAt < ConnectTimeout ? null : "the server does not answer any more, neither by UDP nor by TCP";
            }
            var failure = attempt.End();
            Dispose();
            nextAttempt = now + Again;
            return failure == null ? null : "the server cannot be reached any more: " + failure;
        }
    }
}
