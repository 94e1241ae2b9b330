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
use crate::protect::Protecting;
use crate::source::{self, Kind};
use crate::stores::Stores;
use crate::task::{self, Bench, Ended};
use crate::trouble::{Step, Trouble, fault, pause};
use codec::vod::Effort;
use media::ladder::Ladder;
use service::hooks::{Event, Hooks};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use store::{Error, Heartbeat, QueueAddress, WAIT_MAX};
use tokio::task::JoinHandle;

/// How long a message whose work failed is kept from everybody: time for another machine to be free, and for what was wrong
/// to pass.
const FAULT_PAUSE: Duration = Duration::from_secs(5);

/// The same if this machine can't work it off, for each time that it was received, and at most.
const MACHINE_PAUSE: Duration = Duration::from_secs(15);
const MACHINE_PAUSE_MAX: Duration = Duration::from_secs(300);

/// From so many messages in a row on that this machine could not work off, it waits before it takes another.
const UNFIT_MIN: u32 = 3;

/// Works messages off. Cloning gives another handle to the same.
#[derive(Debug, Clone)]
pub(crate) struct Worker {
    pub(crate) stores: Stores,
    pub(crate) program: PathBuf,
    pub(crate) ladder: Ladder,
    pub(crate) effort: Effort,
    /// Whether recordings are planned, too, and not only uploads.
    pub(crate) recordings: bool,
    pub(crate) protecting: Arc<Protecting>,
    pub(crate) leaving: Leaving,
    pub(crate) meters: Meters,
    /// How long a message is had before it must be extended.
    pub(crate) visibility: Duration,
    /// The plan that was needed last: the tasks of a job come one after the other.
    pub(crate) plan: Arc<Mutex<Option<Arc<Plan>>>>,
    /// Who is told of what happens.
    pub(crate) hooks: Hooks,
}

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is worked off.
    Done,
    /// It is tried again, by whoever gets it.
    GiveBack,
    /// An error was counted: it is tried again, but not at once.
    Again,
    /// This machine can't do it now: it is tried again later.
    Pause,
    /// It is nobody's work: it comes again when its time is over, and then to the dead.
    Leave,
}

impl Worker {
    /// Works until it is to leave.
    pub(crate) async fn run(&self) {
        let (mut failures, mut unfit): (u32, u32) = (0, 0);
        loop {
            self.meters.idle(None);
            tokio::select! {
                may = self.leaving.may_take() => if !may { break },
            }
            match self.receive().await {
                Ok(None) => failures = 0,
                Ok(Some(message)) => {
                    failures = 0;
                    let able = self.work_off(message).await != Some(Fate::Pause);
                    unfit = if able { 0 } else { unfit.saturating_add(1) };
                    // A machine that can do nothing at all must not go through the whole queue.
                    if unfit >= UNFIT_MIN {
                        tokio::select! {
                            () = tokio::time::sleep(pause(unfit)) => {}
                            () = self.leaving.told_to_leave() => {}
                        }
                    }
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

    /// Works a message off; says what became of it, if that was ours to say.
    async fn work_off(&self, message: store::Message) -> Option<Fate> {
        let heartbeat = Heartbeat::start(self.stores.queue.clone(), &message, self.visibility);
        let worker = self.clone();
        let body = message.body.clone();
        // In a task of its own: a defect ends the message, not the worker.
        let again = message.receive_count > 1;
        let mut work = tokio::spawn(async move { worker.read(&body, again).await });
        let mut defects: u32 = 0;
        let fate = loop {
            tokio::select! {
                biased;
                () = heartbeat.lost() => {
                    tracing::warn!(id = message.id, "the message was lost to somebody else: its work is dropped");
                    stop(work).await;
                    self.leaving.hold(InHand::default());
                    return None;
                }
                () = self.leaving.let_go() => {
                    tracing::info!(id = message.id, "leaving: the message is given back");
                    stop(work).await;
                    break Fate::GiveBack;
                }
                ended = &mut work => match ended {
                    Ok(fate) => break fate,
                    Err(defect) if defects == 0 => {
                        tracing::error!(id = message.id, %defect, "a defect: it is counted as an error");
                        defects = 1;
                        let (worker, body) = (self.clone(), message.body.clone());
                        work = tokio::spawn(async move { worker.defect(&body).await });
                    }
                    Err(defect) => {
                        tracing::error!(id = message.id, %defect, "a defect: the message is left for the dead letters");
                        break Fate::Leave;
                    }
                },
            }
        };
        self.leaving.hold(InHand::default());
        // Who leaves has no say in when it comes again.
        let wait = wait(fate, message.receive_count).filter(|_| !self.leaving.is_told());
        let ended = match (fate, wait) {
            (Fate::Done, _) => heartbeat.done().await,
            (Fate::Leave, _) => {
                heartbeat.stop().await;
                Ok(())
            }
            (_, None) => heartbeat.give_back().await,
            (_, Some(wait)) => {
                if heartbeat.stop().await {
                    self.stores.queue.extend(&message.receipt, wait).await
                } else {
                    Ok(())
                }
            }
        };
        if let Err(error) = ended {
            // It comes again, and is found done.
            tracing::warn!(id = message.id, %error, "a message could not be put away");
        }
        Some(fate)
    }

    /// What becomes of a message whose work had a defect: an error of the part that it speaks of.
    async fn defect(&self, body: &str) -> Fate {
        let asked = event::parse(body, self.stores.ingest.place()).unwrap_or_default();
        // Of several it is not known which.
        let [message] = asked.as_slice() else { return Fate::Leave };
        let counted = match message {
            Message::Task { job, task } => self.defect_of_task(job, *task).await,
            Message::Source { key } => match probing::find(&self.stores, key).await {
                Ok(Some(found)) => self.trouble(&found.asset, key, Part::Plan, defect()).await,
                Ok(None) => Ok(Fate::Done),
                Err(trouble) => Err(trouble),
            },
        };
        counted.unwrap_or(Fate::Leave)
    }

    async fn defect_of_task(&self, job: &str, number: u32) -> Step<Fate> {
        let state = self.stores.state(job).await?;
        let part = if state.done.contains(&number) { Part::Finish } else { Part::Task(number) };
        match self.plan(job).await? {
            Some(plan) => self.trouble(&Asset::of(&plan), &plan.source.key, part, defect()).await,
            None => Ok(Fate::Done),
        }
    }

    /// Works off all that a body asks for. It may be one that was received before (`again`).
    async fn read(&self, body: &str, again: bool) -> Fate {
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
                Message::Source { key } => self.source(key, again).await,
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
            tracing::info!(job, task = number, of = plan.tasks.len(), "task begins");
            let ended = task::run(self.bench(), &plan, number).await;
            self.leaving.hold(InHand::default());
            let why = match &ended {
                Ok(Ended::Done) => "done",
                Ok(Ended::Left) => "leaving",
                Err(_) => "trouble",
            };
            tracing::info!(job, task = number, why, "task ends");
            match ended {
                Ok(Ended::Done) => self.meters.task_done(),
                Ok(Ended::Left) => return Ok(Fate::GiveBack),
                Err(trouble) => return self.trouble(&asset, &plan.source.key, part, trouble).await,
            }
        }
        let state = self.stores.state(job).await?;
        if !missing(&state, &plan).is_empty()
            && let Err(trouble) = finisher::ahead(self.bench(), &plan, number, &state.done).await
        {
            // Whoever finishes the job tries again, and is heard.
            tracing::debug!(job, %trouble, "thumbnails can't be made ahead");
        }
        self.finish_if_done(&plan, &state).await
    }

    /// Plans a source if nobody has, and sends its tasks.
    async fn source(&self, key: &str, again: bool) -> Step<Fate> {
        let Some(mut found) = probing::find(&self.stores, key).await? else { return Ok(Fate::Done) };
        let state = self.stores.state(&found.asset.id).await?;
        if state.failed {
            return Ok(Fate::Done);
        }
        if !state.planned && !self.recordings && matches!(source::kind(key), Some(Kind::Recording { .. })) {
            tracing::info!(key, "a recording: it stays as it is (vod.sources)");
            return Ok(Fate::Done);
        }
        if !state.planned {
            let Some(best) = probing::best(&self.stores, found).await? else { return Ok(Fate::Done) };
            found = best;
        }
        let (job, key) = (found.asset.id.as_str(), found.key.as_str());
        let (plan, new) = match self.plan_of(&found, &state).await {
            Ok(planned) => planned,
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
        // Of a double all are sent already, and who has made the plan sends them; if that one died, the message comes again.
        // A local queue takes no doubles.
        if new || again || matches!(self.stores.queue.address(), QueueAddress::Local) {
            self.stores.send_tasks(job, &missing).await?;
        }
        Ok(Fate::Done)
    }

    /// The plan of a source, and whether it was made here.
    async fn plan_of(&self, found: &Found, state: &JobState) -> Step<(Arc<Plan>, bool)> {
        let job = found.asset.id.as_str();
        if state.planned
            && let Some(plan) = self.plan(job).await?
        {
            return Ok((plan, false));
        }
        self.meters.doing("planning", job);
        let protect = self.protecting.terms(job, &found.asset.name, found.protect)?;
        let planned = probing::plan(&self.stores, &self.program, found, &self.ladder, self.effort).await?;
        let planned = Plan { protect, ..planned };
        let (plan, new) = self.stores.create_plan(planned).await?;
        let seconds = Asset::of(&plan).duration_s.unwrap_or_default();
        tracing::info!(job, source = found.key, seconds, tasks = plan.tasks.len(), "planned");
        Ok((self.remember(plan), new))
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
        // Whoever ends this process may have ended its child first.
        if self.leaving.is_told() {
            return Err(Trouble::Machine(why));
        }
        let job = asset.id.as_str();
        let state = self.stores.state(job).await?;
        if is_over(&state, part) {
            tracing::info!(job, %part, why, "an error of what somebody else has made: it isn't counted");
            return Ok(Fate::Done);
        }
        self.meters.error();
        match self.stores.count_error(job, part, &why).await? {
            AfterError::Again => {
                tracing::warn!(job, %part, why, "an error was counted; it is tried again");
                Ok(Fate::Again)
            }
            AfterError::GiveUp => {
                tracing::error!(job, %part, why, "the job has failed");
                let alarm = Event::alarm("job_failed", &format!("the job {job} has failed ({part}): {why}"));
                self.hooks.tell(alarm.of_asset(job));
                self.stores.create_failed(asset, part, &why, source).await?;
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
        Bench {
            stores: &self.stores,
            program: &self.program,
            leaving: &self.leaving,
            meters: &self.meters,
            hooks: &self.hooks,
            protecting: &self.protecting,
        }
    }
}

/// Says in an asset's entry that its job has failed.
pub(crate) async fn fail(stores: &Stores, asset: &Asset, reason: &str) -> Step<()> {
    let index = crate::entry::file_key(&asset.id, &media::route::File::Playlist.to_string());
    let instant = crate::trouble::patiently(|| stores.egress.head(&index)).await?.is_some();
    stores.write_entry(asset, State::Failed { reason, instant }).await
}

/// How long a message with this fate, received so many times, stays away; `None`: it may come back at once.
fn wait(fate: Fate, received: u32) -> Option<Duration> {
    match fate {
        Fate::Again => Some(FAULT_PAUSE),
        // Ever longer: each time counts towards the dead letters.
        Fate::Pause => Some(MACHINE_PAUSE.saturating_mul(received.max(1)).min(MACHINE_PAUSE_MAX)),
        Fate::Done | Fate::GiveBack | Fate::Leave => None,
    }
}

/// Whether an error of this part means nothing any more.
fn is_over(state: &JobState, part: Part) -> bool {
    let made = match part {
        Part::Plan => state.planned,
        Part::Task(number) => state.done.contains(&number),
        Part::Finish => false,
    };
    made || state.failed || state.finished
}

fn defect() -> Trouble {
    fault("live360 has a defect that this source brings out")
}

/// Ends work and waits until it is gone.
async fn stop(work: JoinHandle<Fate>) {
    work.abort();
    // Cancelled, or it ended in this moment.
    let _ = work.await;
}

/// Tasks of a plan that have no facts yet.
pub(crate) fn missing(state: &JobState, plan: &Plan) -> BTreeSet<u32> {
    jobs::missing(state, tasks(plan))
}

fn tasks(plan: &Plan) -> u32 {
    u32::try_from(plan.tasks.len()).unwrap_or(jobs::TASKS_MAX)
}

/// What is known of a job whose plan can't be read.
fn unplanned(job: &str) -> Asset {
    Asset { id: job.to_owned(), name: job.to_owned(), start_ms: 0, duration_s: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_waits_for_another_machine_and_what_this_one_cannot_do_ever_longer() {
        for (fate, received, seconds) in [
            (Fate::GiveBack, 9, None),
            (Fate::Again, 1, Some(5)),
            (Fate::Again, 3, Some(5)),
            (Fate::Pause, 0, Some(15)),
            (Fate::Pause, 1, Some(15)),
            (Fate::Pause, 4, Some(60)),
            (Fate::Pause, u32::MAX, Some(300)),
        ] {
            assert_eq!(wait(fate, received), seconds.map(Duration::from_secs), "{fate:?} {received}");
        }
    }

    #[test]
    fn an_error_of_what_somebody_else_has_made_means_nothing() {
        let state = JobState { planned: true, done: [1].into(), ..JobState::default() };
        for (part, over) in [(Part::Plan, true), (Part::Task(0), false), (Part::Task(1), true), (Part::Finish, false)] {
            assert_eq!(is_over(&state, part), over, "{part}");
            assert!(is_over(&JobState { finished: true, ..JobState::default() }, part), "{part}");
            assert!(is_over(&JobState { failed: true, ..JobState::default() }, part), "{part}");
        }
    }
}
