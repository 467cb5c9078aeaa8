using System;
using System.Collections.Generic;
using System.Net.Security;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace Voxwire.Transport
{
    /// <summary>Whether a server's certificate is good enough.</summary>
    internal sealed class CertificateCheck
    {
        private readonly string[] pinned;

        internal CertificateCheck(TlsSettings settings)
        {
            pinned = settings.PinnedSha256.ConvertAll(Certificates.Normalized).ToArray();
        }

        /// <summary>Why the last certificate was not accepted; null if it was.</summary>
        internal string Refusal { get; private set; }

        internal bool Accepts(object sender, X509Certificate certificate, X509Chain chain, SslPolicyErrors errors)
        {
            Refusal = null;
            if (pinned.Length == 0)
            {
                if (errors != SslPolicyErrors.None)
                {
                    Refusal = "the server's certificate is not trusted (" + errors + "); for a certificate of one's own, pin it";
                }
                return Refusal == null;
            }
            var shown = certificate == null ? "none" : Certificates.Fingerprint(certificate.GetRawCertData());
            if (Array.IndexOf(pinned, shown) < 0)
            {
                Refusal = "the server shows another certificate than the pinned one: its SHA-256 fingerprint is " + shown;
            }
            return Refusal == null;
        }
    }

    /// <summary>Fingerprints of certificates: SHA-256 in capital hexadecimal.</summary>
    internal static class Certificates
    {
        private const string Begin = "-----BEGIN CERTIFICATE-----";
        private const string End = "-----END CERTIFICATE-----";

        /// <summary>The fingerprint of a certificate in DER.</summary>
        internal static string Fingerprint(byte[] certificate)
        {
            using (var sha = SHA256.Create())
            {
                return BitConverter.ToString(sha.ComputeHash(certificate)).Replace("-", "");
            }
        }

        /// <summary>A fingerprint without colons and spaces.</summary>
        /// <exception cref="FormatException">It is none.</exception>
        internal static string Normalized(string fingerprint)
        {
            var digits = fingerprint.Replace(":", "").Replace(" ", "").Trim().ToUpperInvariant();
            if (digits.Length != 64 || digits.Trim("0123456789ABCDEF".ToCharArray()).Length != 0)
            {
                throw new FormatException("a SHA-256 fingerprint has 64 hexadecimal digits, this is none: " + fingerprint);
            }
            return digits;
        }

        /// <summary>The fingerprints of all certificates in a PEM file.</summary>
        /// <exception cref="FormatException">There are none, or one is broken.</exception>
        internal static List<string> Fingerprints(string pem)
        {
            var fingerprints = new List<string>();
            for (var at = pem.IndexOf(Begin, StringComparison.Ordinal); at >= 0; at = pem.IndexOf(Begin, at, StringComparison.Ordinal))
            {
                at += Begin.Length;
                var end = pem.IndexOf(End, at, StringComparison.Ordinal);
                if (end < 0)
                {
                    break;
                }
                fingerprints.Add(Fingerprint(Convert.FromBase64String(pem.Substring(at, end - at))));
                at = end;
            }
            if (fingerprints.Count == 0)
            {
                throw new FormatException("there is no certificate in this text, which begins with -----BEGIN");
            }
            return fingerprints;
        }
    }
}
