//! Counters and gauges for Prometheus.

use std::sync::{Mutex, OnceLock, PoisonError};

use metrics::{counter, describe_counter, describe_gauge, gauge};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use crate::App;

static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
static RENDERING: Mutex<()> = Mutex::new(());

/// Installs the recorder of this process, once.
fn handle() -> &'static PrometheusHandle {
    HANDLE.get_or_init(|| {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("another recorder of metrics is installed: /metrics will be empty");
        }
        describe_counter!("ponder_prompt_tokens_total", "Prompt tokens read");
        describe_counter!("ponder_prompt_tokens_cached_total", "Prompt tokens found in the cache");
        describe_counter!("ponder_tokens_generated_total", "Tokens generated");
        describe_counter!("ponder_tokens_drafted_total", "Tokens guessed ahead");
        describe_counter!("ponder_tokens_accepted_total", "Guessed tokens that came true");
        describe_counter!(
            "ponder_preempted_total",
            "Answers that gave up their memory for a while"
        );
        describe_counter!("ponder_steps_total", "Forward passes");
        describe_gauge!("ponder_requests_processing", "Answers under way");
        describe_gauge!("ponder_requests_deferred", "Answers that wait");
        describe_gauge!("ponder_kv_pages", "Pages of the key-value cache");
        describe_gauge!("ponder_kv_pages_free", "Pages that no answer under way needs");
        describe_gauge!("ponder_kv_cache_usage_ratio", "Share of the pages that are needed");
        handle
    })
}

/// All metrics as text.
pub(crate) fn render(app: &App) -> String {
    let handle = handle();
    // The recorder is the process's: what one look sets, another may not change before it is read.
    let _one = RENDERING.lock().unwrap_or_else(PoisonError::into_inner);
    let load = app.runtime.load();
    counter!("ponder_prompt_tokens_total").absolute(load.prompt_tokens);
    counter!("ponder_prompt_tokens_cached_total").absolute(load.cached_tokens);
    counter!("ponder_tokens_generated_total").absolute(load.generated_tokens);
    counter!("ponder_tokens_drafted_total").absolute(load.drafted_tokens);
    counter!("ponder_tokens_accepted_total").absolute(load.accepted_tokens);
    counter!("ponder_preempted_total").absolute(load.preempted);
    counter!("ponder_steps_total").absolute(load.steps);
    gauge!("ponder_requests_processing").set(load.running as f64);
    gauge!("ponder_requests_deferred").set(load.waiting as f64);
    gauge!("ponder_kv_pages").set(load.kv_pages as f64);
    gauge!("ponder_kv_pages_free").set(load.kv_pages_free as f64);
    let used = (load.kv_pages - load.kv_pages_free) as f64;
    gauge!("ponder_kv_cache_usage_ratio").set(used / load.kv_pages.max(1) as f64);
    handle.render()
}
