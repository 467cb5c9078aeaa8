using System;
using System.IO;
using Mono.Security.X509;

namespace Voxwire.Tests
{
    /// <summary>Adds the authority of a PEM file to the user's roots, which Mono has below <c>XDG_CONFIG_HOME</c>.</summary>
    internal static class Trust
    {
        private static void Main(string[] arguments)
        {
            const string Begin = "-----BEGIN CERTIFICATE-----";
            var pem = File.ReadAllText(arguments[0]);
            var start = pem.IndexOf(Begin, StringComparison.Ordinal) + Begin.Length;
            var end = pem.IndexOf("-----END", StringComparison.Ordinal);
            var authority = new X509Certificate(Convert.FromBase64String(pem.Substring(start, end - start)));
            X509StoreManager.NewCurrentUser.TrustedRoot.Import(authority);
        }
    }
}
