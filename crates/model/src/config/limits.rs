//! What of experts and latents no kernel could work with.

use super::{ExpertConfig, LatentConfig};

/// A key of GGUF, and what is wrong with it.
type Wrong = (&'static str, String);

/// Each within 1 and its limit.
fn within(sizes: &[(&'static str, usize, usize)]) -> Result<(), Wrong> {
    match sizes.iter().find(|(_, value, limit)| *value == 0 || value > limit) {
        Some((key, value, limit)) => Err((key, format!("{value} is not within 1 to {limit}"))),
        None => Ok(()),
    }
}

impl ExpertConfig {
    pub(super) fn check(&self) -> Result<(), Wrong> {
        let ExpertConfig { count, used, groups, groups_used, .. } = *self;
        within(&[
            ("expert_count", count, 1 << 12),
            ("expert_used_count", used, count),
            ("expert_feed_forward_length", self.ffn, 1 << 22),
            ("expert_shared_feed_forward_length", self.shared_ffn.max(1), 1 << 22),
            ("expert_group_count", groups, count),
            ("expert_group_used_count", groups_used, groups),
        ])?;
        if !count.is_multiple_of(groups) {
            let problem = format!("{count} experts can't be in {groups} groups of one size");
            return Err(("expert_group_count", problem));
        }
        if used > count / groups * groups_used {
            let problem = format!("{groups_used} groups of {} have no {used}", count / groups);
            return Err(("expert_group_used_count", problem));
        }
        match self.scale > 0.0 && self.scale.is_finite() {
            true => Ok(()),
            false => Err(("expert_weights_scale", format!("{} is not above 0", self.scale))),
        }
    }
}

impl LatentConfig {
    pub(super) fn check(&self) -> Result<(), Wrong> {
        within(&[
            ("attention.q_lora_rank", self.q_lora_rank.unwrap_or(1), 1 << 20),
            ("attention.kv_lora_rank", self.kv_lora_rank, 1 << 12),
            ("attention.key_length_mla", self.qk_nope_head_dim, 1 << 12),
            ("attention.value_length_mla", self.v_head_dim, 1 << 12),
        ])?;
        if !self.kv_lora_rank.is_multiple_of(16) {
            let problem = format!("{} is no multiple of 16", self.kv_lora_rank);
            return Err(("attention.kv_lora_rank", problem));
        }
        match self.mscale_all_dim >= 0.0 && self.mscale_all_dim.is_finite() {
            true => Ok(()),
            false => {
                let problem = format!("{} is below 0", self.mscale_all_dim);
                Err(("rope.scaling.yarn_log_multiplier", problem))
            }
        }
    }
}
