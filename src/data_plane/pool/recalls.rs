//! Calls for idle connections, from a request that waits to all workers.

use std::{
    collections::BTreeSet,
    mem::take,
    sync::{Arc, Mutex},
};

use tokio::sync::Notify;

use crate::{base::lock, snapshot::EndpointId};

/// How a request that waits tells all workers that it could use one of their idle connections.
#[derive(Default)]
pub struct Recalls(Mutex<Vec<Arc<Recall>>>);

/// What tells one worker.
#[derive(Default)]
pub struct Recall {
    /// Where connections are wanted, and it has not looked yet.
    wanted: Mutex<BTreeSet<EndpointId>>,
    told: Notify,
}

impl Recalls {
    /// What tells one more worker.
    pub fn join(&self) -> Arc<Recall> {
        let recall = Arc::default();
        lock(&self.0).push(Arc::clone(&recall));
        recall
    }

    /// A connection to this endpoint is wanted.
    pub(super) fn tell_all(&self, endpoint: EndpointId) {
        lock(&self.0).iter().for_each(|recall| recall.tell(endpoint));
    }
}

impl Recall {
    fn tell(&self, endpoint: EndpointId) {
        // Otherwise it has been told, and has not looked yet.
        if lock(&self.wanted).insert(endpoint) {
            self.told.notify_one();
        }
    }

    /// The endpoints whose connections are wanted, as soon as there are some.
    pub async fn wanted(&self) -> BTreeSet<EndpointId> {
        self.told.notified().await;
        take(&mut lock(&self.wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_rt::test]
    async fn a_worker_learns_once_of_each_endpoint_whose_connections_are_wanted() {
        let recalls = Recalls::default();
        let workers = [recalls.join(), recalls.join()];
        for endpoint in [7, 3, 7] {
            recalls.tell_all(endpoint);
        }
        for worker in &workers {
            assert_eq!(worker.wanted().await, [3, 7].into());
        }
        recalls.tell_all(7);
        assert_eq!(workers[0].wanted().await, [7].into());
    }
}
