//! How much memory there is for weights.

use std::path::Path;

use model::Config;

/// Activations, logits and the rest of the process, with room to spare.
const WORK: u64 = 512 << 20;
/// Tokens whose keys and values find room where nobody says how long the context is to be.
const TOKENS: usize = 4096;

/// Memory that weights may take. Layers for which there is none are read from the file each time they are needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WeightMemory {
    /// As much as they need, there or not.
    #[default]
    Enough,
    /// What the system has left, less what keys and values and the work need.
    Free,
    /// So many bytes.
    AtMost(u64),
}

impl WeightMemory {
    /// Bytes that the weights of such a model may take, if it is run with a context of `ctx` tokens.
    pub(crate) fn room(self, config: &Config, ctx: Option<usize>) -> u64 {
        match self {
            WeightMemory::Enough => u64::MAX,
            WeightMemory::AtMost(bytes) => bytes,
            WeightMemory::Free => match available() {
                Some(free) => free.saturating_sub(beside_weights(config, ctx)),
                None => u64::MAX,
            },
        }
    }
}

/// Keys and values in 16 bits, and the work.
fn beside_weights(config: &Config, ctx: Option<usize>) -> u64 {
    let tokens = ctx.unwrap_or(config.context_length.min(TOKENS));
    // Latents are keys and values.
    let numbers = config.head_dim * if config.latent.is_some() { 1 } else { 2 };
    let factors = [config.layers, config.kv_heads, numbers, 2, tokens];
    factors.iter().fold(1u64, |n, factor| n.saturating_mul(*factor as u64)).saturating_add(WORK)
}

/// Bytes of memory that this process can still take without others having to give up what they use: what the
/// system says, and what the process's control groups allow; `None` where neither says anything (on systems other
/// than Linux).
pub fn available() -> Option<u64> {
    let system = std::fs::read_to_string("/proc/meminfo").ok();
    let system = system.and_then(|text| field(&text, "MemAvailable:")).map(|kib| kib * 1024);
    match (system, control_groups()) {
        (Some(system), Some(group)) => Some(system.min(group)),
        (one, other) => one.or(other),
    }
}

/// The number behind a name in a file of one name and number a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The least that any control group (version 2) of this process still allows.
fn control_groups() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let root = Path::new("/sys/fs/cgroup");
    let dir = root.join(own);
    dir.ancestors().take_while(|dir| dir.starts_with(root)).filter_map(left_in).min()
}

fn left_in(group: &Path) -> Option<u64> {
    let read = |file: &str| std::fs::read_to_string(group.join(file)).ok();
    // "max" where there is no limit.
    let limit: u64 = read("memory.max")?.trim().parse().ok()?;
    let used: u64 = read("memory.current")?.trim().parse().ok()?;
    // Pages of files are counted as used, and given up when something needs them.
    let stat = read("memory.stat").unwrap_or_default();
    let files =
        ["inactive_file ", "active_file "].into_iter().filter_map(|name| field(&stat, name));
    Some(limit.saturating_sub(used.saturating_sub(files.sum())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_name() {
        let text = "MemTotal:       24000000 kB\nMemAvailable:   12345 kB\n";
        assert_eq!(field(text, "MemAvailable:"), Some(12345));
        assert_eq!(field(text, "Swap:"), None);
        assert_eq!(field("active_file x\n", "active_file "), None);
    }

    #[test]
    fn what_a_group_has_left_counts_pages_of_files_as_free() {
        let dir = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| std::fs::write(dir.path().join(file), text).unwrap();
        assert_eq!(left_in(dir.path()), None);
        write("memory.max", "max\n");
        write("memory.current", "700\n");
        assert_eq!(left_in(dir.path()), None);
        write("memory.max", "1000\n");
        assert_eq!(left_in(dir.path()), Some(300));
        write("memory.stat", "anon 400\ninactive_file 200\nactive_file 50\n");
        assert_eq!(left_in(dir.path()), Some(550));
        write("memory.current", "1200\n");
        assert_eq!(left_in(dir.path()), Some(50));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_system_says_what_it_has_left() {
        let bytes = available().unwrap();
        assert!(bytes > 1 << 20 && bytes < 1 << 50, "{bytes}");
    }
}
