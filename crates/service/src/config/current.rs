//! The configuration in force, shared by all who read it while they run.
//!
//! What is read once at start is as it was until a restart; which keys those are says [`super::reload`].

use super::Config;
use std::sync::Arc;
use tokio::sync::watch;

/// The configuration in force. Cloning gives another handle to the same one.
#[derive(Debug, Clone)]
pub struct Current(Arc<watch::Sender<Arc<Config>>>);

impl Current {
    /// In force from the start.
    pub fn new(config: Config) -> Self {
        Self(Arc::new(watch::Sender::new(Arc::new(config))))
    }

    /// As it is now. Ask again where it may have changed: this one stays as it is.
    pub fn get(&self) -> Arc<Config> {
        self.0.borrow().clone()
    }

    /// Puts another one in force.
    pub fn replace(&self, config: Config) {
        self.0.send_replace(Arc::new(config));
    }

    /// Changes whenever another one is put in force.
    pub fn changes(&self) -> watch::Receiver<Arc<Config>> {
        self.0.subscribe()
    }
}
