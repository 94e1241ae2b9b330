//! The task that delivers: it waits for what happens first, a message, an answer or a moment, and does what the outbox says.

use super::kept::Kept;
use super::outbox::{Outbox, Outcome, Step, Ticket};
use super::{Message, count};
use crate::config::Hooks as Config;
use crate::hashed;
use crate::outbound::{BadRoots, Client, server};
use crate::secret::Secret;
use bytes::Bytes;
use http::Uri;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// How long a receiver may take to answer.
const ANSWER: Duration = Duration::from_secs(10);

/// How long what waits is still delivered when the process leaves.
const FLUSH_WITHIN: Duration = Duration::from_secs(5);

/// Delivers what [`super::Hooks`] is told.
#[derive(Debug)]
pub struct Sender {
    receivers: Vec<Uri>,
    client: Client,
    secret: Option<Secret>,
    kept: Kept,
    inbox: mpsc::Receiver<Message>,
}

/// A try that has ended: which, of what, and the words for what went wrong.
type Tried = (Ticket, Arc<Message>, Result<(), String>);

impl Sender {
    pub(super) fn new(config: &Config, kept: Kept, inbox: mpsc::Receiver<Message>) -> Result<Self, BadRoots> {
        let client = Client::new(config.ca.as_deref().map(|path| ("hooks.ca", path)))?;
        // The config has checked that they are URLs.
        let receivers = config.url.iter().filter_map(|url| url.parse().ok()).collect();
        Ok(Self { receivers, client, secret: config.secret.clone(), kept, inbox })
    }

    /// Delivers until `shutdown`, and then for `FLUSH_WITHIN` what waits.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut outbox = Outbox::new(self.receivers.len());
        for message in self.kept.left().await {
            self.take(&mut outbox, message);
        }
        let mut flights: JoinSet<Tried> = JoinSet::new();
        let mut until: Option<Instant> = None;
        loop {
            let wake = self.launch(&mut outbox, &mut flights);
            if until.is_some() && wake.is_none() && flights.is_empty() && self.inbox.is_empty() {
                break;
            }
            tokio::select! {
                Some(message) = self.inbox.recv() => self.take(&mut outbox, message),
                Some(Ok(tried)) = flights.join_next() => self.settle(&mut outbox, tried).await,
                () = at(wake) => {}
                () = at(until) => break,
                () = shutdown.cancelled(), if until.is_none() => {
                    until = Some(Instant::now() + FLUSH_WITHIN);
                    outbox.hurry(Instant::now());
                }
                // Nobody is left who could tell anything, nothing is on its way, and there is no end in sight.
                else => break,
            }
        }
        // What is kept on disk is told by the next process.
        outbox.waiting().filter(|message| !Kept::wants(message.kind)).for_each(|message| count(message.kind, "unsent"));
    }

    fn take(&self, outbox: &mut Outbox, message: Message) {
        let kind = message.kind;
        for _ in 0..outbox.push(message, Kept::wants(kind), Instant::now()) {
            count(kind, "dropped");
        }
    }

    /// Sends what is due, and says when the next thing will be.
    fn launch(&self, outbox: &mut Outbox, flights: &mut JoinSet<Tried>) -> Option<Instant> {
        loop {
            match outbox.next(Instant::now()) {
                Step::Wait(wake) => return wake,
                Step::Send(ticket, message) => {
                    let Some(to) = self.receivers.get(ticket.to).cloned() else { continue };
                    let (client, secret) = (self.client.clone(), self.secret.clone());
                    flights.spawn(async move {
                        let tried = post(&client, &to, message.body.clone(), secret.as_ref()).await;
                        (ticket, message, tried)
                    });
                }
            }
        }
    }

    async fn settle(&self, outbox: &mut Outbox, (ticket, message, tried): Tried) {
        let to = self.receivers.get(ticket.to).map(server).unwrap_or_default();
        let (id, event) = (&message.id, message.kind.name());
        let why = tried.as_ref().err();
        let last = match outbox.settle(ticket, tried.is_ok(), Instant::now(), chance()) {
            Some(Outcome::Again(wait)) => {
                count(message.kind, "failed");
                tracing::debug!(to, id, event, why, again_in_ms = wait.as_millis(), "a hook's message was not taken");
                false
            }
            Some(Outcome::Delivered { last }) => {
                count(message.kind, "delivered");
                tracing::debug!(to, id, event, "told by hook");
                last
            }
            Some(Outcome::GivenUp { last }) => {
                count(message.kind, "given_up");
                tracing::error!(to, id, event, why, "gave up telling by hook");
                last
            }
            None => false,
        };
        if last && Kept::wants(message.kind) {
            self.kept.remove(id).await;
        }
    }
}

/// Only 2xx is a receipt. The answer's body says nothing to us.
async fn post(client: &Client, to: &Uri, body: Bytes, secret: Option<&Secret>) -> Result<(), String> {
    match client.tell(to, body, secret, ANSWER).await {
        Ok(status) if status.is_success() => Ok(()),
        Ok(status) => Err(format!("it answered {status}")),
        Err(error) => Err(error.to_string()),
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// From 0 to 1; without randomness the middle.
fn chance() -> f64 {
    hashed::random::<4>().map_or(0.5, |bytes| f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX))
}
