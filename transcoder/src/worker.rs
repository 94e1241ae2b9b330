//! The worker: one message at a time, held by a heartbeat, worked off, and then done, given back or let go of.
//!
//! What a message asks for is looked up in the store each time, so duplicates, messages out of order and messages of old are
//! harmless. Real errors are counted in the store; whatever is wrong with this machine, the store or the queue is not.

use crate::entry::{Asset, State};
use crate::event::{self, Message};
use crate::finisher;
use crate::jobs::{self, AfterError, JobState, Part};
use crate::leaving::{InHand, Leaving};
use crate::meters::Meters;
use crate::plan::Plan;
use crate::probing::{self, Found};
use crate::stores::Stores;
use crate::task::{self, Bench, Ended};
use crate::trouble::{Step, Trouble, pause};
use codec::vod::Effort;
use media::ladder::Ladder;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use store::{Error, Heartbeat, QueueAddress, WAIT_MAX};
use tokio::task::JoinHandle;

/// How long a message that this machine can't work off is kept before somebody else may have it: it would only come back.
const MACHINE_PAUSE: Duration = Duration::from_secs(15);

/// Works messages off. Cloning gives another handle to the same.
#[derive(Debug, Clone)]
pub(crate) struct Worker {
    pub(crate) stores: Stores,
    pub(crate) program: PathBuf,
    pub(crate) ladder: Ladder,
    pub(crate) effort: Effort,
    pub(crate) leaving: Leaving,
    pub(crate) meters: Meters,
    /// How long a message is had before it must be extended.
    pub(crate) visibility: Duration,
    /// The plan that was needed last: the tasks of a job come one after the other.
    pub(crate) plan: Arc<Mutex<Option<Arc<Plan>>>>,
}

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is worked off.
    Done,
    /// It is tried again, by whoever gets it.
    GiveBack,
    /// It is tried again, but not at once.
    Pause,
    /// It is nobody's work: it comes again when its time is over, and then to the dead.
    Leave,
}

impl Worker {
    /// Works until it is to leave.
    pub(crate) async fn run(&self) {
        let mut failures: u32 = 0;
        loop {
            self.meters.idle(None);
            tokio::select! {
                may = self.leaving.may_take() => if !may { break },
            }
            match self.receive().await {
                Ok(None) => failures = 0,
                Ok(Some(message)) => {
                    failures = 0;
                    self.work_off(message).await;
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    tracing::warn!(%error, failures, "no messages can be received; trying again");
                    tokio::select! {
                        () = tokio::time::sleep(pause(failures)) => {}
                        () = self.leaving.told_to_leave() => {}
                    }
                }
            }
        }
        self.meters.idle(Some("leaving"));
    }

    async fn receive(&self) -> Result<Option<store::Message>, Error> {
        let queue = &self.stores.queue;
        let receiving = queue.receive(1, WAIT_MAX, self.visibility);
        let messages = match queue.address() {
            // Nothing is lost if nobody waits for it any more.
            QueueAddress::Local => tokio::select! {
                messages = receiving => messages?,
                () = self.leaving.told_to_leave() => return Ok(None),
            },
            QueueAddress::Sqs(_) => receiving.await?,
        };
        Ok(messages.into_iter().next())
    }

    async fn work_off(&self, message: store::Message) {
        let heartbeat = Heartbeat::start(self.stores.queue.clone(), &message, self.visibility);
        let worker = self.clone();
        let body = message.body.clone();
        // In a task of its own: a defect ends the message, not the worker.
        let mut work = tokio::spawn(async move { worker.read(&body).await });
        let fate = tokio::select! {
            biased;
            () = heartbeat.lost() => {
                tracing::warn!(id = message.id, "the message was lost to somebody else: its work is dropped");
                stop(work).await;
                self.leaving.hold(InHand::default());
                return;
            }
            () = self.leaving.let_go() => {
                tracing::info!(id = message.id, "leaving: the message is given back");
                stop(work).await;
                Fate::GiveBack
            }
            fate = &mut work => fate.unwrap_or_else(|defect| {
                tracing::error!(id = message.id, %defect, "a defect: the message is left for the dead letters");
                Fate::Leave
            }),
        };
        self.leaving.hold(InHand::default());
        if fate == Fate::Pause {
            tokio::select! {
                () = heartbeat.lost() => {}
                () = self.leaving.told_to_leave() => {}
                () = tokio::time::sleep(MACHINE_PAUSE) => {}
            }
        }
        let ended = match fate {
            Fate::Done => heartbeat.done().await,
            Fate::GiveBack | Fate::Pause => heartbeat.give_back().await,
            Fate::Leave => {
                heartbeat.stop().await;
                Ok(())
            }
        };
        if let Err(error) = ended {
            // It comes again, and is found done.
            tracing::warn!(id = message.id, %error, "a message could not be put away");
        }
    }

    /// Works off all that a body asks for.
    async fn read(&self, body: &str) -> Fate {
        let asked = match event::parse(body, self.stores.ingest.place()) {
            Ok(asked) => asked,
            Err(not_ours) => {
                let begin: String = body.chars().take(200).collect();
                tracing::warn!(why = %not_ours, body = begin, "left for the dead letters");
                return Fate::Leave;
            }
        };
        let mut fate = Fate::Done;
        for message in asked {
            let one = match &message {
                Message::Task { job, task } => self.task(job, *task).await,
                Message::Source { key } => self.source(key).await,
            };
            let one = one.unwrap_or_else(|trouble| {
                tracing::warn!(%trouble, ?message, "can't be worked off here now");
                Fate::Pause
            });
            if one != Fate::Done {
                fate = one;
            }
            // What is left of it is somebody else's.
            if self.leaving.is_told() && fate == Fate::GiveBack {
                break;
            }
        }
        fate
    }

    /// Makes a task, and finishes the job if it was the last.
    async fn task(&self, job: &str, number: u32) -> Step<Fate> {
        let part = Part::Task(number);
        let plan = match self.plan(job).await {
            Ok(Some(plan)) => plan,
            Ok(None) => {
                tracing::warn!(job, "a task of a job that has no plan: nothing is done");
                return Ok(Fate::Done);
            }
            Err(trouble) => return self.trouble(&unplanned(job), "", part, trouble).await,
        };
        let asset = Asset::of(&plan);
        let state = self.stores.state(job).await?;
        if state.failed || state.finished || number >= tasks(&plan) {
            return Ok(Fate::Done);
        }
        if !state.done.contains(&number) {
            tracing::info!(job, task = number, of = plan.tasks.len(), "encoding");
            let ended = task::run(self.bench(), &plan, number).await;
            self.leaving.hold(InHand::default());
            match ended {
                Ok(Ended::Done) => self.meters.task_done(),
                Ok(Ended::Left) => return Ok(Fate::GiveBack),
                Err(trouble) => return self.trouble(&asset, &plan.source.key, part, trouble).await,
            }
        }
        let state = self.stores.state(job).await?;
        self.finish_if_done(&plan, &state).await
    }

    /// Plans a source if nobody has, and sends its tasks.
    async fn source(&self, key: &str) -> Step<Fate> {
        let Some(found) = probing::find(&self.stores, key).await? else { return Ok(Fate::Done) };
        let job = found.asset.id.as_str();
        let state = self.stores.state(job).await?;
        if state.failed {
            return Ok(Fate::Done);
        }
        let plan = match self.plan_of(&found, &state).await {
            Ok(plan) => plan,
            Err(trouble) => return self.trouble(&found.asset, key, Part::Plan, trouble).await,
        };
        if !state.finished {
            self.stores.write_entry(&Asset::of(&plan), State::Transcoding(plan.tasks.len())).await?;
        }
        let state = self.stores.state(job).await?;
        let missing = missing(&state, &plan);
        // Also if it was finished between: then the entry must be written again.
        if missing.is_empty() || state.finished {
            return self.finish_if_done(&plan, &state).await;
        }
        self.stores.send_tasks(job, &missing).await?;
        Ok(Fate::Done)
    }

    async fn plan_of(&self, found: &Found, state: &JobState) -> Step<Arc<Plan>> {
        let job = found.asset.id.as_str();
        if state.planned
            && let Some(plan) = self.plan(job).await?
        {
            return Ok(plan);
        }
        self.meters.doing("planning", job);
        let planned = probing::plan(&self.stores, &self.program, found, &self.ladder, self.effort).await?;
        let plan = self.stores.create_plan(planned).await?;
        let seconds = Asset::of(&plan).duration_s.unwrap_or_default();
        tracing::info!(job, source = found.key, seconds, tasks = plan.tasks.len(), "planned");
        Ok(self.remember(plan))
    }

    /// Finishes a job of which nothing is missing.
    async fn finish_if_done(&self, plan: &Plan, state: &JobState) -> Step<Fate> {
        let asset = Asset::of(plan);
        if state.finished {
            finisher::ready(&self.stores, &asset).await?;
            return Ok(Fate::Done);
        }
        if state.failed || !missing(state, plan).is_empty() {
            return Ok(Fate::Done);
        }
        self.meters.doing("finishing", &plan.job);
        match finisher::run(self.bench(), plan).await {
            Ok(()) => {
                self.meters.job_finished();
                tracing::info!(job = plan.job, "finished");
                Ok(Fate::Done)
            }
            Err(trouble) => self.trouble(&asset, &plan.source.key, Part::Finish, trouble).await,
        }
    }

    /// What becomes of a message whose work came to nothing.
    async fn trouble(&self, asset: &Asset, source: &str, part: Part, trouble: Trouble) -> Step<Fate> {
        let why = match trouble {
            Trouble::Fault(why) => why,
            Trouble::Machine(_) => return Err(trouble),
        };
        let job = asset.id.as_str();
        self.meters.error();
        match self.stores.count_error(job, part, &why).await? {
            AfterError::Again => {
                tracing::warn!(job, %part, why, "an error was counted; it is tried again");
                Ok(Fate::GiveBack)
            }
            AfterError::GiveUp => {
                tracing::error!(job, %part, why, "the job has failed");
                self.stores.create_failed(job, part, &why, source).await?;
                fail(&self.stores, asset, &why).await?;
                Ok(Fate::Done)
            }
        }
    }

    async fn plan(&self, job: &str) -> Step<Option<Arc<Plan>>> {
        let held = self.held().clone().filter(|plan| plan.job == job);
        if held.is_some() {
            return Ok(held);
        }
        let plan = self.stores.plan(job).await?;
        Ok(plan.map(|plan| self.remember(plan)))
    }

    fn remember(&self, plan: Plan) -> Arc<Plan> {
        let plan = Arc::new(plan);
        *self.held() = Some(Arc::clone(&plan));
        plan
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Option<Arc<Plan>>> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bench(&self) -> Bench<'_> {
        Bench { stores: &self.stores, program: &self.program, leaving: &self.leaving, meters: &self.meters }
    }
}

/// Says in an asset's entry that its job has failed.
pub(crate) async fn fail(stores: &Stores, asset: &Asset, reason: &str) -> Step<()> {
    let index = crate::entry::file_key(&asset.id, &media::route::File::Playlist.to_string());
    let instant = crate::trouble::patiently(|| stores.egress.head(&index)).await?.is_some();
    stores.write_entry(asset, State::Failed { reason, instant }).await
}

/// Ends work and waits until it is gone.
async fn stop(work: JoinHandle<Fate>) {
    work.abort();
    // Cancelled, or it ended in this moment.
    let _ = work.await;
}

/// Tasks of a plan that have no facts yet.
pub(crate) fn missing(state: &JobState, plan: &Plan) -> BTreeSet<u32> {
    (0..tasks(plan)).filter(|task| !state.done.contains(task)).collect()
}

fn tasks(plan: &Plan) -> u32 {
    u32::try_from(plan.tasks.len()).unwrap_or(jobs::TASKS_MAX)
}

/// What is known of a job whose plan can't be read.
fn unplanned(job: &str) -> Asset {
    Asset { id: job.to_owned(), name: job.to_owned(), start_ms: 0, duration_s: None }
}
