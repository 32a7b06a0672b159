//! Listens to channels, on a connection of its own.

use std::{sync::Arc, time::Duration};

use redis::{PushInfo, PushKind, Value, cmd};
use tokio::time::timeout;

use super::{
    link::{Dialer, Link, Peer, Pushes},
    node::{LOOK_EVERY, Retry, SILENCE_MAX},
    plan::Address,
    routes::Routes,
};
use crate::storage::channels::Channels;

/// A larger message is none of ours.
const MESSAGE_BYTES_MAX: usize = 64 << 10;
/// How often a node to listen at is looked for.
const SEARCH_EVERY: Duration = Duration::from_millis(50);

/// Listens at some node that is connected, for as long as it is not aborted.
pub(super) async fn listen(dialer: Arc<Dialer>, routes: Arc<Routes>, channels: Arc<Channels>) {
    let mut retry = Retry::default();
    let mut count = channels.watch();
    // Never an error: the sender is in `channels`.
    let _ = count.wait_for(|count| *count > 0).await;
    loop {
        let address = loop {
            match routes.somewhere() {
                Some(address) => break address,
                None => tokio::time::sleep(SEARCH_EVERY).await,
            }
        };
        let cause = match listen_at(&address, &dialer, &routes, &channels, &mut retry).await {
            Ok(cause) | Err(cause) => cause,
        };
        tracing::debug!("shared storage: no messages are heard: {cause}");
        tokio::time::sleep(retry.next()).await;
    }
}

/// Until it has to be done elsewhere or anew; why.
async fn listen_at(
    address: &Address,
    dialer: &Dialer,
    routes: &Routes,
    channels: &Arc<Channels>,
    retry: &mut Retry,
) -> Result<String, String> {
    let mut count = channels.watch();
    let to = Arc::clone(channels);
    let pushes: Pushes = Arc::new(move |push| pass_on(&to, push));
    let (link, mut driver) = dialer.dial(address, Peer::Data, Some(pushes)).await?;
    let mut heard = Vec::new();
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        count.borrow_and_update();
        for channel in channels.all() {
            if !heard.contains(&channel) {
                within(link.subscribe(channel.as_str())).await?;
                // What was published until now was not heard.
                channels.gap(&channel);
                heard.push(channel);
            }
        }
        *retry = Retry::default();
        loop {
            tokio::select! {
                _ = &mut driver => return Ok(format!("{address} has closed the connection")),
                _ = count.changed() => break,
                _ = look.tick() => is_well(&link, routes).await?,
            }
        }
    }
}

/// # Errors
/// It is of no use any more.
async fn is_well(link: &Link, routes: &Routes) -> Result<(), String> {
    within(link.ask(&cmd("PING"))).await?;
    match routes.is_at(&link.address) {
        true => Ok(()),
        false => Err(format!("{} is not in use any more", link.address)),
    }
}

async fn within<T>(asked: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    timeout(SILENCE_MAX, asked).await.unwrap_or_else(|_| Err(format!("silent for {SILENCE_MAX:?}")))
}

fn pass_on(channels: &Channels, push: PushInfo) {
    if push.kind != PushKind::Message {
        return;
    }
    if let [Value::BulkString(channel), Value::BulkString(message)] = &push.data[..]
        && let Ok(channel) = std::str::from_utf8(channel)
        && message.len() <= MESSAGE_BYTES_MAX
    {
        channels.publish(channel, message);
    }
}
