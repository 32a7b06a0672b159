//! `portcullis replicas`: the cluster as a running replica sees it.

use clap::Args;
use serde::Deserialize as _;
use serde_json::Value;

use super::{Format, ask::AdminAddress, exit::Exit, print, print_json};
use crate::{
    base::plural,
    cluster::{
        membership::State,
        view::{ClusterView, Replica},
    },
    settings::ShareConfig,
};

#[derive(Args)]
pub struct ReplicasArgs {
    #[command(flatten)]
    address: AdminAddress,
    /// How the replicas are printed
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Exit code 0 when all replicas run the same configuration, 1 when they do not, 69 when that cannot be known.
pub fn run(args: &ReplicasArgs) -> Exit {
    let api = match args.address.find() {
        Ok(api) => api,
        Err(exit) => return exit,
    };
    let body = match api.get("/status") {
        Ok((200, body)) => body,
        Ok((status, _)) => return api.unavailable(&format!("it answered {status}")),
        Err(error) => return api.unavailable(&error.to_string()),
    };
    let status = serde_json::from_str::<Value>(&body).unwrap_or_default();
    let Ok(view) = ClusterView::deserialize(&status["cluster"]) else {
        return api.unavailable("it does not tell of replicas");
    };
    let printed = match args.format {
        Format::Text => print(&table(&view.replicas, view.same_digest)),
        Format::Json => print_json(&view),
    };
    match &view.storage_error {
        Some(error) if view.shared => {
            report!(
                "error: this is what was seen last: the shared storage does not answer: {error}\n  = help: see \
                 `sharedStorage` in /status"
            );
            return Exit::Unavailable;
        }
        Some(error) => report!("warning: {error}: this one knows of no other"),
        None => {}
    }
    if view.same_digest { printed } else { Exit::Failure }
}

const HEAD: [&str; 8] = ["id", "name", "version", "shares", "digest", "shared version", "state", "age"];

/// A line for each replica, with what it has to say below, and what that comes to.
fn table(replicas: &[Replica], same_digest: bool) -> String {
    let rows: Vec<[String; HEAD.len()]> =
        std::iter::once(HEAD.map(str::to_owned)).chain(replicas.iter().map(row)).collect();
    let widths: Vec<usize> = (0..HEAD.len())
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default())
        .collect();
    let mut text = String::new();
    let reasons = std::iter::once(None).chain(replicas.iter().map(|replica| replica.reason.as_ref()));
    for (row, reason) in rows.iter().zip(reasons) {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
        if let Some(reason) = reason {
            text.push_str(&format!("    {reason}\n"));
        }
    }
    let count = replicas.len();
    let replicas = if count == 1 { "1 replica".to_owned() } else { format!("{count} replicas") };
    let sum = if same_digest { "the same configuration" } else { "DIFFERENT configurations" };
    text.push_str(&format!("{replicas}, {sum}\n"));
    text
}

fn row(replica: &Replica) -> [String; HEAD.len()] {
    let share = match replica.share {
        ShareConfig::Off => "off",
        ShareConfig::Publish => "publish",
        ShareConfig::Follow => "follow",
    };
    let state = match (replica.state, replica.errors) {
        (State::Waiting, _) => "waiting".to_owned(),
        (State::Rejected, _) => "rejected".to_owned(),
        (State::Applied, 0) => "applied".to_owned(),
        (State::Applied, errors) => format!("applied, {}", plural(errors, "error")),
    };
    [
        format!("{}{}", replica.id, if replica.own { " (asked)" } else { "" }),
        replica.name.clone(),
        replica.version.clone(),
        share.to_owned(),
        if replica.digest.is_empty() { "-".to_owned() } else { replica.digest.clone() },
        replica.record.map_or_else(|| "-".to_owned(), |record| record.to_string()),
        state,
        format!("{}.{} s", replica.age_ms / 1000, replica.age_ms % 1000 / 100),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_are_shown_as_a_table_with_what_each_has_to_say() {
        let replica = |id: &str, digest: &str| Replica {
            id: id.to_owned(),
            name: id.to_uppercase(),
            own: id == "a",
            version: "0.1.0".to_owned(),
            share: ShareConfig::Follow,
            digest: digest.to_owned(),
            generation: 2,
            errors: 0,
            record: Some(7),
            state: State::Applied,
            reason: None,
            age_ms: 1234,
        };
        let rejects = Replica {
            record: None,
            state: State::Rejected,
            reason: Some("version 7: no".to_owned()),
            ..replica("b", "")
        };
        let expected = "\
id         name  version  shares  digest  shared version  state     age
a (asked)  A     0.1.0    follow  d1      7               applied   1.2 s
b          B     0.1.0    follow  -       -               rejected  1.2 s
    version 7: no
2 replicas, DIFFERENT configurations
";
        assert_eq!(table(&[replica("a", "d1"), rejects], false), expected);
    }
}
