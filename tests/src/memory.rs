//! How much memory a process has had.

/// Returns the most memory that this process has used so far, in bytes, if the system says it
/// (Linux).
pub fn peak_memory() -> Option<usize> {
    status("VmHWM:")
}

/// Returns the most memory that this process has requested so far, in bytes, whether it has used it
/// or not, if the system says it (Linux).
pub fn peak_claimed_memory() -> Option<usize> {
    status("VmPeak:")
}

fn status(name: &str) -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(name))?;
    let kib: usize = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1_024)
}
