using System;
using System.IO;
using System.Text;
using Voxwire.Transport;

namespace Voxwire.Tests
{
    /// <summary>Settings on the command line: <c>host=</c>, <c>port=</c>, <c>token=</c>, and so on.</summary>
    internal static class Arguments
    {
        internal static TransportSettings Settings(string[] arguments, int first)
        {
            var settings = new TransportSettings();
            for (var at = first; at < arguments.Length; at++)
            {
                var parts = arguments[at].Split(new[] { '=' }, 2);
                Set(settings, parts[0], parts.Length > 1 ? parts[1] : "");
            }
            return settings;
        }

        private static void Set(TransportSettings settings, string key, string value)
        {
            switch (key)
            {
                case "host":
                    settings.Host = value;
                    break;
                case "port":
                    settings.Port = int.Parse(value);
                    break;
                case "token":
                    settings.Token = Encoding.UTF8.GetBytes(value);
                    break;
                case "no-udp":
                    settings.Udp = false;
                    break;
                case "no-fallback":
                    settings.Fallback = false;
                    break;
                case "no-reconnect":
                    settings.Reconnect = false;
                    break;
                case "direct":
                    settings.Direct = true;
                    break;
                case "connect-timeout":
                    settings.ConnectTimeout = int.Parse(value);
                    break;
                case "tls":
                    settings.Tls = settings.Tls ?? new TlsSettings();
                    break;
                case "tls-name":
                    settings.Tls.ServerName = value;
                    break;
                case "pin":
                    settings.Tls = settings.Tls ?? new TlsSettings();
                    settings.Tls.Pin(value);
                    break;
                case "pin-file":
                    settings.Tls = settings.Tls ?? new TlsSettings();
                    settings.Tls.Pin(File.ReadAllText(value));
                    break;
                case "clear-udp":
                    settings.Tls.ClearUdp = true;
                    break;
                default:
                    throw new ArgumentException("no such setting: " + key);
            }
        }
    }
}
