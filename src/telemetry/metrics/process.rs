//! What the kernel knows about this process, from `/proc/self`.

use std::fs;

use super::exposition::{Exposition, Kind};

/// The kernel reports processor time to user space in hundredths of a second (`USER_HZ`) on every
/// architecture that Rust's standard library runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// Leaves out what cannot be read, as on other systems than Linux.
pub(super) fn expose(page: &mut Exposition) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    if let Some(kib) = field(&status, "VmRSS:") {
        page.single("portcullis_process_resident_memory_bytes", Kind::Gauge, "Memory in use.", kib * 1024);
    }
    if let Some(threads) = field(&status, "Threads:") {
        page.single("portcullis_process_threads", Kind::Gauge, "Threads.", threads);
    }
    if let Ok(entries) = fs::read_dir("/proc/self/fd") {
        // One of them is the folder being read.
        page.single(
            "portcullis_process_open_fds",
            Kind::Gauge,
            "Open file descriptors.",
            (entries.count() as u64).saturating_sub(1),
        );
    }
    if let Some(limit) = fs::read_to_string("/proc/self/limits").ok().and_then(|text| {
        text.lines()
            .find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next()?.parse().ok())
    }) {
        page.single(
            "portcullis_process_max_fds",
            Kind::Gauge,
            "Most file descriptors that may be open.",
            limit,
        );
    }
    if let Some(ticks) = fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(cpu_ticks) {
        page.family(
            "portcullis_process_cpu_seconds_total",
            Kind::Counter,
            "Processor time, user and system.",
        );
        page.decimal("", &[], ticks as f64 / TICKS_PER_SECOND);
    }
}

/// The first number after `name` in `/proc/self/status`.
fn field(status: &str, name: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
}

/// Fields 14 and 15 of `/proc/self/stat`, counted after the program's name, which may hold blanks
/// and parentheses.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_behind_a_name_with_blanks_and_parentheses() {
        let stat = "7 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0";
        assert_eq!(cpu_ticks(stat), Some(300));
        assert_eq!(cpu_ticks("7 (a) S 1"), None);
    }
}
