//! What the operating system says of the program: memory, processor time, open files. Linux tells it in `/proc`; elsewhere nothing is said.

use super::{CPU, OPEN_FILES, RESIDENT_MEMORY, Sample};

/// Ticks of a second in `/proc/self/stat`: USER_HZ, the same on every Linux (proc(5)).
const TICKS: f64 = 100.0;

/// The samples that are to be had.
pub fn samples() -> Vec<Sample> {
    let found = [resident_memory().map(|v| RESIDENT_MEMORY.sample(&[], v)), cpu_seconds().map(|v| CPU.sample(&[], v)), open_files().map(|v| OPEN_FILES.sample(&[], v))];
    found.into_iter().flatten().collect()
}

/// How many files this process may open; None where the system does not tell, or sets no limit.
pub fn open_files_limit() -> Option<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|l| l.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn resident_memory() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok().map(|kb| kb * 1024.0)
}

fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // the second field is the program's name, which may hold anything but ends with the last bracket
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |i: usize| fields.get(i)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / TICKS)
}

fn open_files() -> Option<f64> {
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count() as f64)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn linux_tells_all_of_it() {
        let found = samples();
        assert_eq!(found.len(), 3);
        assert!(found[0].value > 1e6 && found[2].value >= 3.0, "{found:?}");
    }
}
