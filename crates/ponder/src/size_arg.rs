//! Sizes as people write them: `512MiB`, `1.5g`.

use anyhow::{Result, bail};

/// A number of bytes, with or without a unit.
pub fn bytes(typed: &str) -> Result<u64> {
    let at = typed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(typed.len());
    let (number, unit) = typed.split_at(at);
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1u64,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        _ => bail!("a size is a number and a unit, as in 512MiB or 4GiB"),
    };
    match number.parse::<f64>() {
        Ok(number) if number >= 0.0 => Ok((number * factor as f64) as u64),
        _ => bail!("a size is a number and a unit, as in 512MiB or 4GiB"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(bytes("512MiB").unwrap(), 512 << 20);
        assert_eq!(bytes("1.5g").unwrap(), 3 << 29);
        assert_eq!(bytes("100").unwrap(), 100);
        assert!(bytes("4 elephants").is_err() && bytes("").is_err() && bytes("-1").is_err());
    }
}
