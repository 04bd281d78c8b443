//! One MCP server: a program that was started here and is spoken to over its standard input and
//! output (Model Context Protocol, <https://modelcontextprotocol.io>).

use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use rmcp::model::{
    CallToolRequestParams, CallToolResult, ClientCapabilities, ClientConfig, ContentBlock,
    Implementation, JsonObject, ResourceContents, Tool,
};
use rmcp::service::RunningService;
use rmcp::transport::TokioChildProcess;
use rmcp::{RoleClient, ServiceExt};
use tokio::io::AsyncReadExt;
use tokio::process::{ChildStderr, Command};

use super::boundary;
use super::config::ServerConfig;
use crate::terminal::render::printable;

/// How long a server may take to start, and to tell its tools.
const START: Duration = Duration::from_secs(60);
/// How long it may take to end.
const END: Duration = Duration::from_secs(5);
/// What is kept of what a server says on its standard error, to be shown if it fails.
const SAID: usize = 2000;
/// What a server gets of this program's environment: enough to find programs and files. Keys and
/// the like are given in the file of servers.
const ENVIRONMENT: [&str; 14] = [
    "HOME",
    "LANG",
    "LC_ALL",
    "LOGNAME",
    "PATH",
    "SHELL",
    "TERM",
    "TMPDIR",
    "USER",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "APPDATA",
    "SYSTEMROOT",
];
/// The most of a result that the model is given: more would fill its context.
const MOST: usize = 32 << 10;

/// The end of what a server has said on its standard error.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<String>>);

impl Said {
    async fn listen(self, mut from: ChildStderr) {
        let mut bytes = [0; 1024];
        while let Ok(n) = from.read(&mut bytes).await
            && n > 0
        {
            let text = String::from_utf8_lossy(&bytes[..n]);
            tracing::debug!(server = %text.trim_end(), "said");
            let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            said.push_str(&text);
            let cut = boundary(&said, said.len().saturating_sub(SAID));
            said.drain(..cut);
        }
    }

    /// An error, and what was said before it.
    fn with(&self, error: impl std::fmt::Display) -> anyhow::Error {
        let said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // What a server says must not steer the terminal.
        let error = printable(&error.to_string());
        match printable(&said).trim() {
            "" => anyhow!("{error}"),
            said => anyhow!("{error}\nit said: {said}"),
        }
    }
}

/// A running server.
pub struct Server {
    config: ServerConfig,
    service: RunningService<RoleClient, ClientConfig>,
    said: Said,
}

impl Server {
    /// Starts a server; with it come the tools it offers.
    ///
    /// # Errors
    /// The program can't be started, ends, or speaks something else.
    pub async fn start(config: ServerConfig) -> Result<(Server, Vec<Tool>)> {
        let mut command = Command::new(&config.command);
        command.args(&config.args).env_clear().kill_on_drop(true);
        let own = ENVIRONMENT.iter().filter_map(|name| Some((*name, std::env::var_os(name)?)));
        command.envs(own).envs(&config.env);
        if let Some(cwd) = &config.cwd {
            command.current_dir(cwd);
        }
        // Ctrl-C is meant for this program.
        #[cfg(unix)]
        command.process_group(0);
        let (process, stderr) = TokioChildProcess::builder(command)
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", config.command))?;
        let said = Said::default();
        if let Some(stderr) = stderr {
            tokio::spawn(said.clone().listen(stderr));
        }
        let me = Implementation::new("ponder", env!("CARGO_PKG_VERSION"));
        let me = ClientConfig::new(ClientCapabilities::default(), me);
        let begin = async {
            let service = me.serve(process).await.map_err(|error| error.to_string())?;
            let tools = service.list_all_tools().await.map_err(|error| error.to_string())?;
            Ok::<_, String>((service, tools))
        };
        let (service, tools) = match tokio::time::timeout(START, begin).await {
            Ok(Ok(begun)) => begun,
            Ok(Err(error)) => {
                tokio::time::sleep(Duration::from_millis(100)).await;
                return Err(said.with(error));
            }
            Err(_) => return Err(said.with(format!("no answer within {} s", START.as_secs()))),
        };
        Ok((Server { config, service, said }, tools))
    }

    /// What the file of servers says of it.
    pub fn config(&self) -> &ServerConfig {
        &self.config
    }

    /// Calls a tool; what came of it, for the model to read. That the tool failed is for the model,
    /// too.
    ///
    /// # Errors
    /// The server can't be spoken to any more, or takes too long.
    pub async fn call(&self, tool: &str, arguments: JsonObject) -> Result<String> {
        let params = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
        let timeout = self.config.timeout;
        match tokio::time::timeout(timeout, self.service.call_tool(params)).await {
            Ok(Ok(result)) => Ok(text(&result)),
            // Arguments that it doesn't like are something the model may mend.
            Ok(Err(rmcp::ServiceError::McpError(error))) => Ok(format!("Error: {}", error.message)),
            Ok(Err(error)) => {
                // What it says last may come after its end.
                tokio::time::sleep(Duration::from_millis(100)).await;
                Err(self.said.with(error))
            }
            Err(_) => Ok(format!("Error: no result within {} s", timeout.as_secs())),
        }
    }

    /// Ends the server.
    pub async fn stop(mut self) {
        // One that doesn't end by itself is killed when it is dropped.
        let _ = self.service.close_with_timeout(END).await;
    }
}

/// What the model is told of anything else.
const NO_TEXT: &str = "(something that can't be shown as text)";

/// A result as text.
fn text(result: &CallToolResult) -> String {
    let mut parts: Vec<String> = result.content.iter().map(block).collect();
    if parts.is_empty()
        && let Some(value) = &result.structured_content
    {
        parts.push(value.to_string());
    }
    let mut text = parts.join("\n");
    if result.is_error == Some(true) {
        text.insert_str(0, "Error: ");
    }
    // What a tool brings must not pass for the end of its turn, or for the beginning of another.
    let mut text = text.replace("<|", "< |").replace("</tool_response", "< /tool_response");
    if text.len() > MOST {
        let all = text.len();
        text.truncate(boundary(&text, MOST));
        text.push_str(&format!("\n(cut off: {all} bytes in all)"));
    }
    text
}

/// One part of a result.
fn block(block: &ContentBlock) -> String {
    match block {
        ContentBlock::Text(text) => text.text.clone(),
        ContentBlock::Resource(resource) => match &resource.resource {
            ResourceContents::TextResourceContents { text, .. } => text.clone(),
            ResourceContents::BlobResourceContents { uri, .. } => format!("(binary data: {uri})"),
            _ => NO_TEXT.to_owned(),
        },
        ContentBlock::ResourceLink(link) => link.uri.clone(),
        ContentBlock::Image(_) => "(an image, which this model can't see)".to_owned(),
        ContentBlock::Audio(_) => "(a sound, which this model can't hear)".to_owned(),
        _ => NO_TEXT.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_become_text() {
        let mut result = CallToolResult::success(vec![
            ContentBlock::text("4°C"),
            ContentBlock::image("aGk=", "image/png"),
        ]);
        assert_eq!(text(&result), "4°C\n(an image, which this model can't see)");
        result.is_error = Some(true);
        assert!(text(&result).starts_with("Error: 4°C"));
        let long = CallToolResult::success(vec![ContentBlock::text("é".repeat(MOST))]);
        let cut = text(&long);
        assert!(
            cut.len() < MOST + 50 && cut.ends_with("(cut off: 65536 bytes in all)"),
            "{cut:.20}"
        );
    }
}
