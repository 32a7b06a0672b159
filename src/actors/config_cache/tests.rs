use std::{sync::Arc, time::Duration};

use actix::{AsyncContext as _, Context};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::{Parts, lock, work::Work};
use crate::{
    actors::reconciler::{InForce, Reconciler},
    base::seal::KeyRing,
    cluster::{Record, record::Content, view::ClusterView},
    settings::{Settings, ShareConfig},
    storage::{Storage, Versioned},
};

#[actix_rt::test]
async fn a_follower_says_that_it_lives_while_the_reconciler_is_busy() {
    let ring = KeyRing::parse("keys", &KeyRing::new_line("a")).unwrap();
    let mut settings = Settings::default();
    settings.cluster.share_config = ShareConfig::Follow;
    // It never answers.
    let reconciler = Context::<Reconciler>::new();
    let (_in_force, in_force) = watch::channel(InForce::default());
    let (_leaving, leaving) = watch::channel(false);
    let view = Arc::new(std::sync::Mutex::new(ClusterView::default()));
    let parts = Parts {
        settings: Arc::new(settings),
        ring: Some(Arc::new(ring)),
        storage: Storage::in_memory(),
        reconciler: reconciler.address(),
        in_force,
        view: Arc::clone(&view),
    };
    let mut work = Work::new(parts, leaving);
    let content = Content { publisher: "p".to_owned(), published_ms: 1, files: Arc::default() };
    let offering = work.offer(Record { version: 1, content }, Versioned { version: 1, value: Vec::new() });
    let says_so = async {
        while lock(&view).replicas.is_empty() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        () = offering => panic!("nobody takes the offer"),
        said = timeout(Duration::from_secs(30), says_so) => said.unwrap(),
    }
}
