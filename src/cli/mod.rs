//! Floor 7: the command line, one file per command.

/// Tells the user something on the standard error. Where that is full, or its reader has gone, nobody is left to be told.
macro_rules! report {
    ($($told:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr().lock(), $($told)*);
    }};
}

mod ask;
mod cluster_key;
mod demo;
mod descriptors;
pub mod exit;
pub mod policies;
mod replicas;
mod run;
mod tls;
mod validate;

use std::{
    io::{self, Write as _},
    path::PathBuf,
};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::settings::{Override, SettingsError, Sources};
use exit::Exit;

/// A self-managed API gateway that reads Flex Gateway configuration.
#[derive(Parser)]
#[command(name = "portcullis", version, subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the APIs that configuration folders describe
    #[command(after_long_help = crate::settings::help_text())]
    Run(RunArgs),
    /// Serve the demo: a gateway on three APIs with a built-in upstream, no network needed
    Demo,
    /// Check configuration without a network or a running gateway
    Validate(validate::ValidateArgs),
    /// Print the effective state of a running gateway, secrets redacted
    Dump(ask::DumpArgs),
    /// Ask a running gateway whether it is ready or alive: exit code 0 or 1
    Probe(ask::ProbeArgs),
    /// Show the replicas of a running gateway: exit code 0 if all run the same configuration, 1 if not, 69 if that cannot be told
    Replicas(replicas::ReplicasArgs),
    /// Print a new key for the file that replicas of a gateway share
    ClusterKey(cluster_key::ClusterKeyArgs),
    /// List and explain policies
    Policies {
        #[command(subcommand)]
        command: PoliciesCommand,
    },
    /// Explain TLS contexts
    Tls {
        #[command(subcommand)]
        command: TlsCommand,
    },
    /// Print the version
    Version,
}

#[derive(Args)]
struct RunArgs {
    /// Folder or file of resources; may be given several times
    #[arg(long = "config", value_name = "PATH")]
    config: Vec<PathBuf>,
    /// Address of the admin API, or `off`
    #[arg(long, value_name = "ADDRESS:PORT")]
    admin: Option<String>,
    /// Worker threads
    #[arg(long, value_name = "N")]
    workers: Option<String>,
    /// Settings file (YAML)
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Any other setting, such as `--set timeouts.connect=2s`
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = pair)]
    set: Vec<String>,
}

#[derive(Subcommand)]
enum PoliciesCommand {
    /// One line for each policy
    List,
    /// Everything about one policy
    Show { name: String },
    /// JSON Schema of the parameters of one policy, or of all
    Schema {
        #[arg(default_value = "all")]
        name: String,
    },
}

#[derive(Subcommand)]
enum TlsCommand {
    /// What each context of a configuration negotiates, who serves it and why; no network needed
    Explain(tls::ExplainArgs),
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Json,
}

fn pair(text: &str) -> Result<String, &'static str> {
    if text.contains('=') { Ok(text.to_owned()) } else { Err("expected a setting and its value: KEY=VALUE") }
}

/// Runs the command line of the process.
pub fn main() -> Exit {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() { Exit::Usage } else { Exit::Ok };
            // A closed pipe is no failure of the command.
            let _ = error.print();
            return code;
        }
    };
    match cli.command {
        Command::Run(args) => run::run(&args.sources()),
        Command::Demo => demo::run(),
        Command::Validate(args) => validate::run(&args),
        Command::Dump(args) => ask::dump(&args),
        Command::Probe(args) => ask::probe(&args),
        Command::Replicas(args) => replicas::run(&args),
        Command::ClusterKey(args) => cluster_key::run(&args),
        Command::Policies { command } => policies_command(&command),
        Command::Tls { command: TlsCommand::Explain(args) } => tls::explain(&args),
        Command::Version => print(concat!("portcullis ", env!("CARGO_PKG_VERSION"), "\n")),
    }
}

fn policies_command(command: &PoliciesCommand) -> Exit {
    let mut out = Vec::new();
    let outcome = match command {
        PoliciesCommand::List => policies::list(&mut out).map_err(Into::into),
        PoliciesCommand::Show { name } => policies::show(name, &mut out),
        PoliciesCommand::Schema { name } => policies::schema(name, &mut out),
    };
    match outcome {
        Ok(()) => print(&String::from_utf8_lossy(&out)),
        Err(error) => {
            report!("error: {error}");
            Exit::Usage
        }
    }
}

impl RunArgs {
    fn sources(&self) -> Sources {
        let mut overrides = Vec::new();
        for path in &self.config {
            overrides.push(Override::new("config.paths", path.to_string_lossy(), "--config"));
        }
        let flags = [("admin.address", &self.admin, "--admin"), ("workers", &self.workers, "--workers")];
        for (key, value, flag) in flags {
            overrides.extend(value.iter().map(|value| Override::new(key, value, flag)));
        }
        for pair in &self.set {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            overrides.push(Override::new(key, value, "--set"));
        }
        Sources::of_process(self.settings.clone(), overrides)
    }
}

/// Prints text. A reader that has seen enough and gone is no failure.
fn print(text: &str) -> Exit {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            report!("error: the standard output cannot be written: {error}");
            Exit::Failure
        }
        _ => Exit::Ok,
    }
}

/// Prints a value, for programs.
fn print_json(value: &impl serde::Serialize) -> Exit {
    match serde_json::to_string_pretty(value) {
        Ok(json) => print(&format!("{json}\n")),
        Err(error) => {
            report!("error: {error}");
            Exit::Failure
        }
    }
}

/// Prints what is wrong with the settings.
fn refuse_settings(error: &SettingsError) -> Exit {
    for problem in error.problems.iter() {
        report!("{problem}");
    }
    Exit::Settings
}
