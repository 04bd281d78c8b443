//! Tools that the model may use while it answers: those of MCP servers on this machine.

mod config;
mod rounds;
mod server;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rmcp::model::JsonObject;
use text::tools::{Call, Tool};

use crate::terminal::keyboard::Interrupt;
pub use rounds::answer;
use server::Server;

/// The arguments, to be flattened into a command's own.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct McpArg {
    /// Let the model use the tools of the MCP servers that this JSON file names, as
    /// {"mcpServers": {"NAME": {"command": "PROGRAM", "args": []}}}. Each call is asked about first.
    #[arg(long, value_name = "FILE")]
    mcp: Option<PathBuf>,

    /// A tool that may be called without asking; `*` for all (may be repeated).
    #[arg(long, value_name = "TOOL", requires = "mcp")]
    allow_tool: Vec<String>,
}

impl McpArg {
    /// Starts the servers; none if there are to be none.
    pub fn start(&self) -> Result<Option<Toolbox>> {
        let Some(path) = &self.mcp else { return Ok(None) };
        let toolbox = Toolbox::start(path, &self.allow_tool)?;
        let offered = |name: &String| name == "*" || toolbox.tools.contains_key(name);
        if let Some(name) = self.allow_tool.iter().find(|name| !offered(name)) {
            let names: Vec<&str> = toolbox.tools.keys().map(String::as_str).collect();
            bail!(
                "--allow-tool {name}: there is no such tool\nhint: there are {}",
                names.join(", ")
            );
        }
        Ok(Some(toolbox))
    }
}

/// A tool of one of the servers.
struct Offered {
    tool: Tool,
    server: usize,
    /// What the server calls it.
    name: String,
    /// It may be called without asking.
    allowed: bool,
}

/// The tools of all servers.
pub struct Toolbox {
    runtime: tokio::runtime::Runtime,
    servers: Vec<Server>,
    /// By the name the model knows.
    tools: BTreeMap<String, Offered>,
}

impl Toolbox {
    /// Starts the servers that a file names. What `allowed` has may be called without asking.
    ///
    /// # Errors
    /// The file can't be read, or one of the servers doesn't start.
    pub fn start(path: &Path, allowed: &[String]) -> Result<Toolbox> {
        let configs = config::read(path)?;
        if configs.is_empty() {
            bail!("{} names no server that is to be used", path.display());
        }
        // Servers want answers also while the model is busy.
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let mut toolbox = Toolbox { runtime, servers: Vec::new(), tools: BTreeMap::new() };
        for config in configs {
            let name = config.name.clone();
            let (server, tools) = toolbox
                .runtime
                .block_on(Server::start(config))
                .with_context(|| format!("MCP server {name}"))?;
            let at = toolbox.servers.len();
            for tool in tools {
                toolbox.add(at, &server, tool, allowed);
            }
            toolbox.servers.push(server);
        }
        Ok(toolbox)
    }

    fn add(&mut self, at: usize, server: &Server, tool: rmcp::model::Tool, allowed: &[String]) {
        let config = server.config();
        let mut name = called(&tool.name);
        if self.tools.contains_key(&name) {
            name = called(&format!("{}_{}", config.name, tool.name));
        }
        let mut number = 2;
        while self.tools.contains_key(&name) {
            name = called(&format!("{number}_{}_{}", config.name, tool.name));
            number += 1;
        }
        let has = |list: &[String], name: &str| list.iter().any(|one| one == "*" || one == name);
        let offered = Offered {
            allowed: has(allowed, &name) || has(&config.always_allow, &tool.name),
            tool: Tool {
                name: name.clone(),
                description: tool.description.unwrap_or_default().into_owned(),
                parameters: serde_json::Value::Object((*tool.input_schema).clone()),
                strict: false,
            },
            server: at,
            name: tool.name.into_owned(),
        };
        self.tools.insert(name, offered);
    }

    /// What the model is to be told of.
    pub fn tools(&self) -> Vec<Tool> {
        self.tools.values().map(|offered| offered.tool.clone()).collect()
    }

    /// Whether a call needs no leave. One of a tool that isn't there harms nobody.
    pub fn is_allowed(&self, call: &Call) -> bool {
        self.tools.get(&call.name).is_none_or(|offered| offered.allowed)
    }

    /// The server that has a tool.
    pub fn server_of(&self, name: &str) -> Option<&str> {
        let offered = self.tools.get(name)?;
        Some(&self.servers[offered.server].config().name)
    }

    /// From now on a tool may be called without asking.
    pub fn allow(&mut self, name: &str) {
        if let Some(offered) = self.tools.get_mut(name) {
            offered.allowed = true;
        }
    }

    /// What comes of a call, for the model to read; none if Ctrl-C was pressed meanwhile.
    ///
    /// # Errors
    /// The server can't be spoken to any more.
    pub fn call(&self, call: &Call, interrupt: &Interrupt) -> Result<Option<String>> {
        let Some(offered) = self.tools.get(&call.name) else {
            return Ok(Some(format!("Error: there is no tool called {}", call.name)));
        };
        let Ok(arguments) = serde_json::from_str::<JsonObject>(&call.arguments) else {
            return Ok(Some("Error: the arguments are no JSON object".to_owned()));
        };
        let server = &self.servers[offered.server];
        let pressed = async {
            while !interrupt.pressed() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        self.runtime.block_on(async {
            tokio::select! {
                // Nothing is called once Ctrl-C was pressed.
                biased;
                () = pressed => Ok(None),
                result = server.call(&offered.name, arguments) => result
                    .map(Some)
                    .with_context(|| format!("MCP server {}", server.config().name)),
            }
        })
    }
}

impl Drop for Toolbox {
    fn drop(&mut self) {
        let servers = std::mem::take(&mut self.servers);
        self.runtime.block_on(async {
            let stops = servers.into_iter().map(|server| tokio::spawn(server.stop()));
            for stop in stops.collect::<Vec<_>>() {
                // One that can't be stopped was killed.
                let _ = stop.await;
            }
        });
    }
}

/// A name that every model and endpoint can call: letters, digits, `_` and `-`, at most 64.
fn called(name: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    name.chars().map(|c| if fits(c) { c } else { '_' }).take(64).collect()
}

/// The last place at or before `at` where the text can be cut.
fn boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0)
}
