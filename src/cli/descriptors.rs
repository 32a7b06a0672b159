//! The limit on open file descriptors: each connection needs one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A client connection, and the upstream connection that a request on it may need.
const PER_CONNECTION: u64 = 2;

/// Raises the soft limit of the process to its hard limit, which needs no right, and logs both. The soft
/// limit that a process inherits is commonly 1024, for the sake of programs that use `select`.
///
/// `connections_max`: client connections that the settings admit at a time.
pub fn raise(connections_max: usize) {
    let Rlimit { current: soft, maximum: hard } = getrlimit(Resource::Nofile);
    let limit = match setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard }) {
        Ok(()) => hard,
        Err(error) => {
            tracing::warn!("the limit on open file descriptors stays at {}: {error}", shown(soft));
            soft
        }
    };
    tracing::info!(
        "open file descriptors: at most {} (soft limit before: {}, hard limit: {})",
        shown(limit),
        shown(soft),
        shown(hard)
    );
    let wanted = u64::try_from(connections_max).unwrap_or(u64::MAX).saturating_mul(PER_CONNECTION);
    if limit.is_some_and(|limit| limit < wanted) {
        tracing::warn!(
            "{connections_max} client connections (`limits.connections`) may need {wanted} file descriptors, \
             but only {} may be open; help: raise the hard limit (`LimitNOFILE=` of systemd, `ulimit -Hn`) or \
             lower the setting",
            shown(limit)
        );
    }
}

/// `None` is no limit.
fn shown(limit: Option<u64>) -> String {
    limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string())
}
