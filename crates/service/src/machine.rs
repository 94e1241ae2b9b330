//! The machine under the process: whether it is about to be taken away.
//!
//! EC2 says so in its instance metadata, up to two minutes before. It is asked every few seconds; what follows from its
//! answers is decided in `notice`, how one asks stands in `metadata`. What leaving means is decided by who reads the
//! notices. Metadata that fail are a line in the log and nothing else.

mod ec2;
mod metadata;
mod notice;

pub use notice::{Leave, Notice, WARNING_MAX, Why};

use crate::config::{self, Metadata as Place};
use metadata::{Metadata, Question, Trouble};
use metrics::gauge;
use notice::{Decision, Heard};
use std::time::{Duration, SystemTime};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// How often the machine is asked; of a warning of two minutes that is little.
pub const ASK_EVERY: Duration = Duration::from_secs(5);

/// Where EC2 has its metadata, on every instance.
const EC2: &str = "http://169.254.169.254";

/// A machine that can be asked.
#[derive(Debug)]
pub struct Machine {
    server: String,
    every: Duration,
    said: watch::Sender<Notice>,
    stop: CancellationToken,
}

impl Machine {
    /// The machine that the config means, if it is one that can be asked. Decided without the network.
    pub fn find(config: &config::Machine, stop: CancellationToken) -> Option<Self> {
        match &config.metadata {
            Place::Off => None,
            Place::Auto => ec2::is_here().then(|| Self::at(EC2, ASK_EVERY, stop)),
            Place::At(server) => Some(Self::at(server, ASK_EVERY, stop)),
        }
    }

    /// The machine whose metadata this server (`http://HOST:PORT`) has, to be asked so often.
    pub fn at(server: &str, every: Duration, stop: CancellationToken) -> Self {
        Self { server: server.to_owned(), every, said: watch::Sender::default(), stop }
    }

    /// What it has said, always the newest.
    pub fn notices(&self) -> watch::Receiver<Notice> {
        self.said.subscribe()
    }

    /// What `/stat` shows of it.
    pub fn stat(&self) -> impl Fn() -> serde_json::Value + Send + Sync + 'static {
        let (server, said) = (self.server.clone(), self.said.subscribe());
        move || {
            let said = said.borrow();
            serde_json::json!({
                "metadata": server,
                "answers": said.answers,
                "instance": said.instance,
                "leave": said.leave.as_ref().map(|leave| leave.why.to_string()),
                "rebalance_recommended": said.rebalance_recommended,
            })
        }
    }

    /// Asks until it is told to stop.
    pub async fn run(self) {
        let mut metadata = Metadata::new(&self.server);
        let mut tick = tokio::time::interval(self.every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.show();
        loop {
            let round = async {
                tick.tick().await;
                self.round(&mut metadata).await;
            };
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = round => {}
            }
        }
    }

    /// Asks everything once.
    async fn round(&self, metadata: &mut Metadata) {
        let mut trouble = None;
        for question in self.questions() {
            match metadata.ask(question).await {
                Ok(heard) => self.hear(heard, None),
                Err(error) => {
                    let general = error.is_general();
                    trouble.get_or_insert(error);
                    if general {
                        break;
                    }
                }
            }
        }
        let summary = if trouble.is_some() { Heard::Silence } else { Heard::Answers };
        self.hear(Some(summary), trouble);
    }

    /// What is still to be learnt, the most urgent first.
    fn questions(&self) -> Vec<Question> {
        let said = self.said.borrow();
        let name = said.instance.is_none().then_some(Question::Instance);
        let rebalance = (!said.rebalance_recommended).then_some(Question::Rebalance);
        [Some(Question::Interruption), Some(Question::Lifecycle), rebalance, name].into_iter().flatten().collect()
    }

    fn hear(&self, heard: Option<Heard>, trouble: Option<Trouble>) {
        let Some(heard) = heard else { return };
        let mut decision = None;
        self.said.send_if_modified(|said| {
            let before = said.clone();
            decision = said.on(heard, SystemTime::now());
            *said != before
        });
        match decision {
            Some(Decision::Leave(Leave { why, by })) => {
                let by = by.map(|by| humantime::format_rfc3339_seconds(by).to_string());
                tracing::warn!(%why, by, "this machine is to be taken away");
            }
            Some(Decision::MarkRebalance) => {
                tracing::warn!("EC2 recommends to replace this machine; going on as before");
            }
            Some(Decision::Answers) => tracing::info!(server = %self.server, "machine metadata answer again"),
            Some(Decision::Silent) => {
                let why = trouble.map(|error| error.to_string()).unwrap_or_default();
                tracing::warn!(server = %self.server, %why, "machine metadata don't answer; asking on");
            }
            None => return,
        }
        self.show();
    }

    fn show(&self) {
        let said = self.said.borrow();
        let number = |flag| if flag { 1.0 } else { 0.0 };
        gauge!("live360_machine_rebalance_recommended").set(number(said.rebalance_recommended));
        gauge!("live360_machine_leaving").set(number(said.leave.is_some()));
        gauge!("live360_machine_metadata_up").set(number(said.answers != Some(false)));
    }
}
