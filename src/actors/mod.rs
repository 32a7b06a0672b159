//! Floor 6, the control path: one file per actor. A request never crosses a mailbox.

pub mod config_cache;
pub mod file_watcher;
pub mod gateway;
pub mod health;
pub mod listeners;
pub mod probes;
pub mod reconciler;
pub mod sockets;
mod storage_metrics;
#[cfg(test)]
mod tests;
