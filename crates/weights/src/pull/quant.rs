//! Which quantisation a GGUF file is, judged by its name: all that a listing tells.

/// The names llama.cpp's quantiser gives, and the float types. Longer ones first where one is the
/// beginning of another.
const NAMES: &[&str] = &[
    "MXFP4_MOE",
    "MXFP4",
    "IQ1_S",
    "IQ1_M",
    "IQ2_XXS",
    "IQ2_XS",
    "IQ2_S",
    "IQ2_M",
    "IQ3_XXS",
    "IQ3_XS",
    "IQ3_S",
    "IQ3_M",
    "IQ4_NL",
    "IQ4_XS",
    "TQ1_0",
    "TQ2_0",
    "Q2_K_XL",
    "Q2_K_L",
    "Q2_K_S",
    "Q2_K",
    "Q3_K_XL",
    "Q3_K_L",
    "Q3_K_M",
    "Q3_K_S",
    "Q3_K",
    "Q4_K_XL",
    "Q4_K_L",
    "Q4_K_M",
    "Q4_K_S",
    "Q4_K",
    "Q5_K_XL",
    "Q5_K_L",
    "Q5_K_M",
    "Q5_K_S",
    "Q5_K",
    "Q6_K_XL",
    "Q6_K_L",
    "Q6_K",
    "Q8_K_XL",
    "Q8_K",
    "Q4_0_4_4",
    "Q4_0_4_8",
    "Q4_0_8_8",
    "Q4_0",
    "Q4_1",
    "Q5_0",
    "Q5_1",
    "Q8_0",
    "BF16",
    "F16",
    "FP16",
    "F32",
    "FP32",
];

/// The quantisation in a file's name, upper case: `Q4_K_M` of `dir/qwq-32b-q4_k_m-00001-of-00002.gguf`.
/// Unsloth's dynamic ones keep their mark: `UD-Q4_K_XL`.
pub fn quant_of(path: &str) -> Option<String> {
    let name = path.rsplit('/').next()?.to_uppercase();
    let stem = name.strip_suffix(".GGUF").unwrap_or(&name);
    let boundary = |c: Option<char>| c.is_none_or(|c| matches!(c, '-' | '.' | '_'));
    let mut best: Option<(usize, &str)> = None;
    for known in NAMES {
        let Some(at) = stem.rfind(known) else { continue };
        let (before, after) = (&stem[..at], &stem[at + known.len()..]);
        if !boundary(before.chars().next_back()) || !boundary(after.chars().next()) {
            continue;
        }
        // The last one in the name counts, of those that begin there the longest.
        if best.is_none_or(|(other, name)| (at, known.len()) > (other, name.len())) {
            best = Some((at, known));
        }
    }
    let (at, quant) = best?;
    let dynamic = stem[..at].ends_with("UD-");
    Some(if dynamic { format!("UD-{quant}") } else { quant.to_owned() })
}

/// A split file's name without its `-00001-of-00003`, and which piece of how many it is.
pub fn split_of(path: &str) -> (&str, Option<(u32, u32)>) {
    let stem = path.strip_suffix(".gguf").unwrap_or(path);
    let piece = || {
        let (rest, count) = stem.rsplit_once("-of-")?;
        let (base, index) = rest.rsplit_once('-')?;
        let number = |s: &str| (s.len() == 5).then(|| s.parse().ok()).flatten();
        Some((base, (number(index)?, number(count)?)))
    };
    match piece() {
        Some((base, piece)) => (base, Some(piece)),
        None => (stem, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_they_are_published() {
        let cases = [
            ("qwq-32b-q4_k_m.gguf", Some("Q4_K_M")),
            ("SmolLM2-135M-Instruct.Q4_1.gguf", Some("Q4_1")),
            ("qwen2.5-7b-instruct-q4_k_m-00001-of-00002.gguf", Some("Q4_K_M")),
            ("QwQ-32B-Q8_0/QwQ-32B-Q8_0-00001-of-00002.gguf", Some("Q8_0")),
            ("Qwen3-32B-UD-Q4_K_XL.gguf", Some("UD-Q4_K_XL")),
            ("Llama-BF16.gguf", Some("BF16")),
            ("model_q6_k.gguf", Some("Q6_K")),
            ("a-Q4_0_4_8.gguf", Some("Q4_0_4_8")),
            ("Model-F16-Q4_K_M.gguf", Some("Q4_K_M")),
            ("model.gguf", None),
            ("ABF16X.gguf", None),
        ];
        for (name, quant) in cases {
            assert_eq!(quant_of(name).as_deref(), quant, "{name}");
        }
    }

    #[test]
    fn split_names() {
        assert_eq!(split_of("d/x-00002-of-00003.gguf"), ("d/x", Some((2, 3))));
        assert_eq!(split_of("x.gguf"), ("x", None));
        assert_eq!(split_of("best-of-breed.gguf"), ("best-of-breed", None));
    }
}
