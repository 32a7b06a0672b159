//! `portcullis cluster-key`.

use clap::Args;

use super::{exit::Exit, print};
use crate::base::seal::KeyRing;

#[derive(Args)]
pub struct ClusterKeyArgs {
    /// Id of the key, never used before; without it, of today's date and chance
    #[arg(long)]
    id: Option<String>,
}

/// Prints a line for the file of keys.
pub fn run(args: &ClusterKeyArgs) -> Exit {
    let today = || jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
    let id = args.id.clone().unwrap_or_else(|| format!("{}-{:04x}", today(), fastrand::u16(..)));
    let line = KeyRing::new_line(&id);
    match KeyRing::parse("--id", &line) {
        Ok(_) => print(&format!("{line}\n")),
        Err(problems) => {
            problems.iter().for_each(|problem| report!("{problem}"));
            Exit::Usage
        }
    }
}
