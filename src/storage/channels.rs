//! Who listens to what in this process, whatever the storage is.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard},
};

use crate::base::lock;

use tokio::sync::{broadcast, watch};

use super::{Channel, Heard};

/// Messages that a slow listener may be behind before it is told that it missed some.
const MESSAGES: usize = 64;

pub(super) struct Channels {
    senders: Mutex<HashMap<Channel, broadcast::Sender<Heard>>>,
    /// How many channels there are: they only become more.
    count: watch::Sender<usize>,
}

impl Default for Channels {
    fn default() -> Self {
        Self { senders: Mutex::default(), count: watch::Sender::new(0) }
    }
}

impl Channels {
    pub fn subscribe(&self, channel: &Channel) -> broadcast::Receiver<Heard> {
        let mut senders = self.senders();
        let sender = senders.entry(channel.clone()).or_insert_with(|| broadcast::channel(MESSAGES).0);
        let receiver = sender.subscribe();
        let count = senders.len();
        self.count.send_if_modified(|known| std::mem::replace(known, count) != count);
        receiver
    }

    /// To those who listen; there may be none.
    pub fn publish(&self, channel: &str, message: &[u8]) {
        let senders = self.senders();
        if let Some((_, sender)) = senders.iter().find(|(there, _)| there.as_str() == channel) {
            // Nobody may listen any more.
            let _ = sender.send(Heard::Message(message.to_vec()));
        }
    }

    /// Messages may have been missed.
    pub fn gap(&self, channel: &Channel) {
        if let Some(sender) = self.senders().get(channel) {
            let _ = sender.send(Heard::Gap);
        }
    }

    pub fn gap_in_all(&self) {
        for sender in self.senders().values() {
            let _ = sender.send(Heard::Gap);
        }
    }

    pub fn all(&self) -> Vec<Channel> {
        self.senders().keys().cloned().collect()
    }

    /// Changes when another channel is listened to.
    pub fn watch(&self) -> watch::Receiver<usize> {
        self.count.subscribe()
    }

    fn senders(&self) -> MutexGuard<'_, HashMap<Channel, broadcast::Sender<Heard>>> {
        lock(&self.senders)
    }
}
