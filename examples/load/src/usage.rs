//! What the server's process uses: its time on the cores, and its memory.

/// What a process has used until now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Time on the cores, in nanoseconds, in user mode and in the kernel.
    pub(crate) cpu: u64,
    /// Resident memory now, and at its highest, in bytes.
    pub(crate) rss: u64,
    pub(crate) peak: u64,
}

impl Usage {
    /// Of a process; `None` where the system does not tell.
    #[cfg(target_os = "linux")]
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok()??;
        Self::read(&stat, &status, u64::try_from(ticks).ok()?)
    }

    /// Elsewhere it is not measured.
    #[cfg(not(target_os = "linux"))]
    pub(crate) const fn of(_pid: u32) -> Option<Self> {
        None
    }

    /// From the two files of proc(5).
    #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "no /proc"))]
    fn read(stat: &str, status: &str, ticks_per_second: u64) -> Option<Self> {
        // The name of the program, in brackets, may have blanks and brackets in it.
        let (_, fields) = stat.rsplit_once(')')?;
        let mut times = fields.split_whitespace().skip(11).map(|field| field.parse::<u64>().ok());
        let ticks = times.next()?? + times.next()??;
        let kilobytes = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
        };
        Some(Self {
            cpu: ticks * crate::plan::SECOND / ticks_per_second.max(1),
            rss: kilobytes("VmRSS:")?,
            peak: kilobytes("VmHWM:")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_read_from_proc() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 4 0 100 1000 200";
        let status = "Name:\ta b) c\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        let expected = Usage { cpu: 3_000_000_000, rss: 1 << 20, peak: 2 << 20 };
        assert_eq!(Usage::read(stat, status, 100), Some(expected));
        assert_eq!(Usage::read("7 (a) S 1", status, 100), None);
        assert_eq!(Usage::read(stat, "", 100), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_measured_and_one_that_is_not_there_is_not() {
        let usage = Usage::of(std::process::id()).unwrap();
        assert!(usage.rss > 1 << 20 && usage.peak >= usage.rss, "{usage:?}");
        assert_eq!(Usage::of(u32::MAX), None);
    }
}
