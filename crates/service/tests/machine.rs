//! A machine as its metadata show it: a real server that wants tokens, forgets them, fails and comes back.

#![allow(clippy::expect_used, reason = "helpers of tests: a panic there is the report")]

#[path = "../../../tests/src/metadata.rs"]
#[allow(unreachable_pub, reason = "it is a module of the end-to-end tests too")]
mod metadata;

use http::StatusCode;
use metadata::{INSTANCE, Metadata, time_in};
use service::config::{self, Metadata as Place};
use service::machine::{Machine, Notice, Why};
use std::time::{Duration, SystemTime};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// Often enough for a test.
const EVERY: Duration = Duration::from_millis(5);

struct Running {
    notices: watch::Receiver<Notice>,
    stat: Box<dyn Fn() -> serde_json::Value + Send + Sync>,
    stop: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl Running {
    fn start(server: &str) -> Self {
        let stop = CancellationToken::new();
        let machine = Machine::at(server, EVERY, stop.clone());
        let (notices, stat) = (machine.notices(), Box::new(machine.stat()));
        Self { notices, stat, stop, task: AbortOnDropHandle::new(tokio::spawn(machine.run())) }
    }

    async fn until(&mut self, what: impl FnMut(&Notice) -> bool) -> Notice {
        self.notices.wait_for(what).await.expect("it runs").clone()
    }
}

#[tokio::test]
async fn an_interruption_is_noticed_with_its_time() {
    let metadata = Metadata::start().await;
    let mut running = Running::start(&metadata.url());
    let quiet = running.until(|notice| notice.instance.is_some()).await;
    assert_eq!((quiet.leave, quiet.instance.as_deref(), quiet.rebalance_recommended), (None, Some(INSTANCE), false));
    metadata.interrupt(&time_in(Duration::from_secs(110)));
    let leave = running.until(|notice| notice.leave.is_some()).await.leave.expect("waited for");
    assert_eq!(leave.why, Why::Interruption("terminate".to_owned()));
    let by = leave.by.expect("it was said");
    assert!((100..=110).contains(&by.duration_since(SystemTime::now()).expect("it is to come").as_secs()));
    assert_eq!((running.stat)()["leave"], "spot interruption (terminate)");
    running.stop.cancel();
    running.task.await.expect("it ends well");
}

#[tokio::test]
async fn the_end_of_the_lifecycle_is_noticed_without_a_time() {
    let metadata = Metadata::start().await;
    let mut running = Running::start(&metadata.url());
    metadata.answered(4).await;
    assert_eq!(running.notices.borrow().leave, None);
    metadata.terminate();
    let leave = running.until(|notice| notice.leave.is_some()).await.leave.expect("waited for");
    assert_eq!((leave.why, leave.by), (Why::Terminated, None));
}

#[tokio::test]
async fn a_recommendation_to_rebalance_is_only_marked() {
    let metadata = Metadata::start().await;
    metadata.recommend_rebalance();
    let mut running = Running::start(&metadata.url());
    let notice = running.until(|notice| notice.rebalance_recommended && notice.answers.is_some()).await;
    assert_eq!((notice.leave, notice.answers), (None, Some(true)));
    assert_eq!((running.stat)()["rebalance_recommended"], true);
}

#[tokio::test]
async fn one_token_serves_until_it_nears_its_end_or_is_forgotten() {
    let metadata = Metadata::start().await;
    let _running = Running::start(&metadata.url());
    metadata.answered(20).await;
    assert_eq!(metadata.tokens(), 1);
    metadata.renew_tokens(21_600);
    metadata.answered(20).await;
    assert_eq!(metadata.tokens(), 2);
    // Tokens that end at once: each question needs its own.
    metadata.renew_tokens(0);
    let before = metadata.tokens();
    metadata.answered(10).await;
    assert!(metadata.tokens() >= before + 10, "{} tokens after {before}", metadata.tokens());
}

#[tokio::test]
async fn metadata_that_fail_are_asked_on_and_what_they_said_stays() {
    let metadata = Metadata::start().await;
    metadata.recommend_rebalance();
    let mut running = Running::start(&metadata.url());
    running.until(|notice| notice.answers == Some(true)).await;
    metadata.fail(Some(StatusCode::INTERNAL_SERVER_ERROR));
    let failing = running.until(|notice| notice.answers == Some(false)).await;
    assert_eq!((failing.leave, failing.rebalance_recommended), (None, true));
    assert_eq!((running.stat)()["answers"], false);
    metadata.terminate();
    metadata.fail(None);
    running.until(|notice| notice.leave.is_some() && notice.answers == Some(true)).await;
}

#[tokio::test]
async fn one_answer_without_sense_hides_no_other() {
    let metadata = Metadata::start().await;
    metadata.say("spot/instance-action", "<html>welcome to this network</html>");
    metadata.terminate();
    let mut running = Running::start(&metadata.url());
    let notice = running.until(|notice| notice.leave.is_some() && notice.answers.is_some()).await;
    assert_eq!((notice.leave.map(|leave| leave.why), notice.answers), (Some(Why::Terminated), Some(false)));
}

#[tokio::test]
async fn an_answer_without_end_is_given_up() {
    let metadata = Metadata::start().await;
    metadata.say("spot/instance-action", &format!(r#"{{"action": "terminate", "x": "{}"}}"#, "x".repeat(1 << 20)));
    let mut running = Running::start(&metadata.url());
    let notice = running.until(|notice| notice.answers.is_some()).await;
    assert_eq!((notice.leave, notice.answers), (None, Some(false)));
}

#[tokio::test]
async fn a_machine_that_is_not_there_is_no_failure() {
    let gone = Metadata::start().await.url();
    let mut running = Running::start(&gone);
    let notice = running.until(|notice| notice.answers.is_some()).await;
    assert_eq!(notice, Notice { answers: Some(false), ..Notice::default() });
    running.stop.cancel();
    running.task.await.expect("it ends well");
}

#[tokio::test]
async fn the_config_says_whether_a_machine_is_asked() {
    let find = |metadata| Machine::find(&config::Machine { metadata }, CancellationToken::new());
    assert!(find(Place::Off).is_none());
    assert!(find(Place::At("http://127.0.0.1:1338".to_owned())).is_some());
}
