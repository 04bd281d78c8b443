//! `--endpoint`: a model that runs elsewhere.

use std::time::Duration;

use anyhow::{Result, bail};
use reason::{EndpointOptions, Pool};

use crate::sampling_arg::SamplingArgs;

/// The arguments, to be flattened into a command's own.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "A model elsewhere")]
pub struct EndpointArg {
    /// Ask an OpenAI-compatible endpoint instead of a model on this machine (may be repeated).
    ///
    /// As in http://localhost:8080 or https://host/api/v1; several share the work. -m is then the
    /// model's name there. A key is read from PONDER_ENDPOINT_KEY.
    #[arg(long, value_name = "URL", env = "PONDER_ENDPOINT", value_delimiter = ',')]
    pub endpoint: Vec<String>,

    /// Questions that each endpoint is asked at a time.
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub endpoint_slots: usize,

    /// Seconds that an endpoint may be silent, as it is while it reads a prompt.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub endpoint_patience: u64,
}

impl EndpointArg {
    /// Connects, if there is an endpoint to connect to.
    pub fn connect(&self, model: Option<&str>) -> Result<Option<Pool>> {
        if self.endpoint.is_empty() {
            return Ok(None);
        }
        let options = EndpointOptions {
            model: model.map(str::to_owned),
            key: key(),
            slots: self.endpoint_slots.max(1),
            patience: Duration::from_secs(self.endpoint_patience.max(1)),
            ..EndpointOptions::default()
        };
        Ok(Some(Pool::connect(&self.endpoint, &options)?))
    }
}

/// The key to show to endpoints, which is not for a command line.
pub fn key() -> Option<String> {
    std::env::var("PONDER_ENDPOINT_KEY").ok().filter(|key| !key.is_empty())
}

/// The flags as they can be sent to an endpoint.
pub fn sent(flags: &SamplingArgs) -> Result<reason::Sampling> {
    let only_here = [
        ("--typical-p", flags.typical_p.is_some()),
        ("--repetition-last-n", flags.repetition_last_n.is_some()),
        ("--dry-multiplier", flags.dry_multiplier.is_some()),
        ("--dry-base", flags.dry_base.is_some()),
        ("--dry-allowed-length", flags.dry_allowed_length.is_some()),
        ("--dry-breaker", !flags.dry_breaker.is_empty()),
        ("--logit-bias", !flags.logit_bias.is_empty()),
    ];
    if let Some((flag, _)) = only_here.iter().find(|(_, given)| *given) {
        bail!("{flag} works with a model on this machine only, not with --endpoint");
    }
    Ok(flags.common())
}
