//! The two stores of recordings, each opened when it is first needed: they may be away when the process starts.

use super::spool::Place;
use service::config::Config;
use std::sync::atomic::{AtomicBool, Ordering};
use store::{Error, Limits, Objects};
use tokio::sync::OnceCell;

/// Both stores.
#[derive(Debug)]
pub(crate) struct Stores {
    ingest: Door,
    egress: Door,
}

#[derive(Debug)]
struct Door {
    url: String,
    objects: OnceCell<Objects>,
    /// Whether the last attempt failed: the operator hears of the first of many.
    failing: AtomicBool,
}

impl Stores {
    pub(crate) fn of(config: &Config) -> Self {
        let door = |url: String| Door { url, objects: OnceCell::new(), failing: AtomicBool::new(false) };
        Self { ingest: door(config.ingest()), egress: door(config.egress()) }
    }

    /// The store of a place.
    pub(crate) async fn objects(&self, place: Place) -> Result<Objects, Error> {
        let door = self.door(place);
        door.objects.get_or_try_init(|| Objects::open(&door.url, Limits::PATIENT)).await.cloned()
    }

    /// What came in.
    pub(crate) async fn ingest(&self) -> Result<Objects, Error> {
        self.objects(Place::Ingest).await
    }

    /// What viewers get.
    pub(crate) async fn egress(&self) -> Result<Objects, Error> {
        self.objects(Place::Egress).await
    }

    /// Notes that a store failed; says whether that is news.
    pub(crate) fn failed(&self, place: Place) -> bool {
        !self.door(place).failing.swap(true, Ordering::Relaxed)
    }

    /// Notes that a store answered.
    pub(crate) fn answered(&self, place: Place) {
        if self.door(place).failing.swap(false, Ordering::Relaxed) {
            tracing::info!(?place, "the store of recordings answers again");
        }
    }

    fn door(&self, place: Place) -> &Door {
        match place {
            Place::Ingest => &self.ingest,
            Place::Egress => &self.egress,
        }
    }
}
