using System;

namespace UnityEngine
{
    /// <summary>What the adapter uses of Unity, for a test without it.</summary>
    public class MonoBehaviour
    {
    }

    [AttributeUsage(AttributeTargets.Field)]
    public sealed class HeaderAttribute : Attribute
    {
        public HeaderAttribute(string header)
        {
        }
    }

    [AttributeUsage(AttributeTargets.Field)]
    public sealed class TooltipAttribute : Attribute
    {
        public TooltipAttribute(string tooltip)
        {
        }
    }

    public static class Debug
    {
        public static void Log(object message)
        {
            Console.WriteLine("log " + message);
        }

        public static void LogWarning(object message)
        {
            Console.WriteLine("warning " + message);
        }

        public static void LogError(object message)
        {
            Console.WriteLine("error " + message);
        }
    }
}
