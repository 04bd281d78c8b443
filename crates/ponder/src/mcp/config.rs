//! Which MCP servers there are: the JSON file that other programs with such servers read, too.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// A file of servers.
#[derive(Debug, Deserialize)]
struct File {
    #[serde(rename = "mcpServers", alias = "servers")]
    servers: BTreeMap<String, Entry>,
}

/// A server as the file has it. Fields that mean something to other programs only are ignored.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Entry {
    command: Option<String>,
    args: Vec<String>,
    env: BTreeMap<String, String>,
    cwd: Option<PathBuf>,
    url: Option<String>,
    disabled: bool,
    timeout: Option<u64>,
    #[serde(rename = "alwaysAllow", alias = "autoApprove")]
    always_allow: Vec<String>,
}

/// A server that is to be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// What the file calls it.
    pub name: String,
    /// The program.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Environment variables beside the few that every server gets.
    pub env: BTreeMap<String, String>,
    /// Where it runs; where this program does if not given.
    pub cwd: Option<PathBuf>,
    /// How long a call may take.
    pub timeout: Duration,
    /// Tools that may be called without asking; `*` for all.
    pub always_allow: Vec<String>,
}

/// How long a call may take where the file doesn't say.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Reads the servers of a file, those that are disabled left out.
///
/// # Errors
/// The file can't be read, is something else, or names a server that isn't a program here.
pub fn read(path: &Path) -> Result<Vec<ServerConfig>> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
    let file: File = serde_json::from_str(&text).with_context(|| {
        format!(
            "{shown} names no MCP servers\n\
             hint: {{\"mcpServers\": {{\"NAME\": {{\"command\": \"PROGRAM\", \"args\": []}}}}}}"
        )
    })?;
    let mut servers = Vec::new();
    for (name, entry) in file.servers {
        if entry.disabled {
            continue;
        }
        let Some(command) = entry.command.filter(|command| !command.is_empty()) else {
            match entry.url {
                Some(url) => bail!(
                    "{shown}: {name} is elsewhere, at {url}; only servers that are started here, \
                     with a `command`, can be used"
                ),
                None => bail!("{shown}: {name} has no `command`"),
            }
        };
        servers.push(ServerConfig {
            name,
            command,
            args: entry.args,
            env: entry.env,
            cwd: entry.cwd,
            timeout: entry.timeout.map_or(TIMEOUT, Duration::from_secs),
            always_allow: entry.always_allow,
        });
    }
    Ok(servers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Vec<ServerConfig>> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("mcp.json");
        std::fs::write(&path, text).expect("written");
        read(&path)
    }

    #[test]
    fn servers_are_read_as_other_programs_write_them() {
        let servers = of(r#"{"mcpServers": {
            "files": {"command": "npx", "args": ["-y", "files"], "env": {"A": "1"},
                      "alwaysAllow": ["read"], "type": "stdio", "timeout": 5},
            "off": {"command": "x", "disabled": true}
        }}"#)
        .expect("readable");
        assert_eq!(servers.len(), 1);
        let ServerConfig { name, args, env, timeout, always_allow, .. } = &servers[0];
        assert_eq!((name.as_str(), args.len(), env["A"].as_str()), ("files", 2, "1"));
        assert_eq!((*timeout, &always_allow[..]), (Duration::from_secs(5), &["read".into()][..]));
        let other = of(r#"{"servers": {"a": {"command": "b"}}}"#).expect("readable");
        assert_eq!(other[0].timeout, TIMEOUT);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |text| format!("{:#}", of(text).expect_err("wrong"));
        assert!(error(r#"{"models": {}}"#).contains("names no MCP servers"));
        assert!(error(r#"{"mcpServers": {"a": {}}}"#).contains("a has no `command`"));
        let remote = error(r#"{"mcpServers": {"a": {"url": "https://x/mcp"}}}"#);
        assert!(remote.contains("a is elsewhere, at https://x/mcp"), "{remote}");
    }
}
