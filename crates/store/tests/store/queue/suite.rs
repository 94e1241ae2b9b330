//! What every queue promises. One function a promise; each leaves the queue empty.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};
use store::{
    BATCH_MESSAGES_MAX, BODY_BYTES_MAX, Depth, Error, Heartbeat, Message, Outgoing, Queue, VISIBILITY_MAX, WAIT_MAX,
};
use tokio::task::JoinSet;

/// So long that no test sees its end.
pub(crate) const LONG: Duration = Duration::from_secs(3600);

/// The shortest there is.
pub(crate) const SHORT: Duration = Duration::from_secs(1);

/// All of it, for a queue that nobody else uses. A simple one gives out messages twice if asked by two at once, and takes
/// old receipts.
pub(crate) async fn all(queue: &Queue, simple: bool) {
    what_is_sent_is_received_once_and_as_it_was(queue).await;
    a_large_batch_arrives_whole(queue).await;
    what_somebody_has_nobody_else_gets(queue).await;
    what_is_given_back_comes_again_at_once(queue).await;
    what_is_not_done_in_time_comes_again(queue, simple).await;
    what_is_extended_stays(queue).await;
    who_waits_is_woken_by_a_message(queue).await;
    what_no_queue_takes_is_refused(queue).await;
    what_is_not_held_can_not_be_done(queue).await;
    a_heartbeat_keeps_a_message(queue).await;
    if !simple {
        of_many_receivers_each_message_has_one(queue).await;
        a_heartbeat_notices_that_another_has_the_message(queue).await;
    }
}

/// So much of it that everything is used that lies between here and a queue.
pub(crate) async fn brief(queue: &Queue) {
    what_is_sent_is_received_once_and_as_it_was(queue).await;
    what_is_given_back_comes_again_at_once(queue).await;
}

/// What is left for a queue that gives messages out twice and then sets them aside.
pub(crate) async fn mortal(queue: &Queue) {
    let (one, two) = (queue.send("one", None).await.unwrap(), queue.send("two", None).await.unwrap());
    for count in [1, 2] {
        for message in [next(queue, LONG).await, next(queue, LONG).await] {
            assert_eq!(message.receive_count, count);
            queue.give_back(&message.receipt).await.unwrap();
        }
    }
    assert_eq!(now(queue, LONG).await, None);
    // Looking changes nothing.
    for _ in 0..2 {
        assert_eq!(queue.dead_count().await.unwrap(), 2);
        let dead = queue.dead_letters().await.unwrap();
        let mut found: Vec<_> = dead.iter().map(|dead| (dead.id.as_str(), dead.body.as_str())).collect();
        found.sort_unstable_by_key(|(_, body)| *body);
        assert_eq!(found, [(one.as_str(), "one"), (two.as_str(), "two")]);
        assert!(dead.iter().all(|dead| dead.receive_count >= 2 && is_recent(dead.sent_at)), "{dead:?}");
    }
    assert_eq!(queue.redrive().await.unwrap(), 2);
    assert_eq!((queue.dead_letters().await.unwrap(), queue.dead_count().await.unwrap()), (Vec::new(), 0));
    let mut bodies = Vec::new();
    for _ in 0..2 {
        let message = next(queue, LONG).await;
        assert_eq!(message.receive_count, 1);
        queue.done(&message.receipt).await.unwrap();
        bodies.push(message.body);
    }
    bodies.sort();
    assert_eq!(bodies, ["one", "two"]);
    assert_eq!(queue.redrive().await.unwrap(), 0);
}

/// The next message, which must come.
pub(crate) async fn next(queue: &Queue, visibility: Duration) -> Message {
    let received = queue.receive(1, WAIT_MAX, visibility).await.unwrap().pop();
    received.unwrap_or_else(|| panic!("nothing came in {WAIT_MAX:?}"))
}

/// The message that is there now.
pub(crate) async fn now(queue: &Queue, visibility: Duration) -> Option<Message> {
    queue.receive(1, Duration::ZERO, visibility).await.unwrap().pop()
}

pub(crate) fn plain(bodies: impl IntoIterator<Item = String>) -> Vec<Outgoing> {
    bodies.into_iter().map(|body| Outgoing { body, dedup: None }).collect()
}

fn is_recent(time: SystemTime) -> bool {
    let minute = Duration::from_secs(60);
    (SystemTime::now() - minute..SystemTime::now() + minute).contains(&time)
}

async fn what_is_sent_is_received_once_and_as_it_was(queue: &Queue) {
    let long = "é".repeat(BODY_BYTES_MAX / 2);
    for body in ["{\"a\": \"b\\\"c\"}", "two\nlines\r\n\t", " é🎥 ", "<&\"'>&amp;%20+", &long] {
        let id = queue.send(body, None).await.unwrap();
        let message = next(queue, LONG).await;
        assert!(message.body == body && message.id == id, "{body:.9}");
        assert_eq!(message.receive_count, 1);
        assert!(is_recent(message.sent_at));
        queue.done(&message.receipt).await.unwrap();
        assert_eq!(queue.depth().await.unwrap(), Depth::default());
    }
}

async fn a_large_batch_arrives_whole(queue: &Queue) {
    const COUNT: usize = 25;
    // Too many and too long for one request.
    let bodies: BTreeSet<String> = (0..COUNT).map(|n| format!("{n} {}", "x".repeat(n * 2000))).collect();
    let ids = queue.send_batch(plain(bodies.clone())).await.unwrap();
    assert_eq!(queue.depth().await.unwrap(), Depth { visible: COUNT as u64, in_flight: 0 });
    // Order isn't promised.
    let mut expected: BTreeSet<_> = ids.into_iter().zip(bodies).collect();
    while !expected.is_empty() {
        let some = queue.receive(10, WAIT_MAX, LONG).await.unwrap();
        assert!((1..=10).contains(&some.len()), "{} came, {} are left", some.len(), expected.len());
        for message in some {
            queue.done(&message.receipt).await.unwrap();
            assert!(expected.remove(&(message.id, message.body)));
        }
    }
    assert_eq!(queue.depth().await.unwrap(), Depth::default());
    assert!(queue.send_batch(Vec::new()).await.unwrap().is_empty());
}

async fn what_somebody_has_nobody_else_gets(queue: &Queue) {
    queue.send("x", None).await.unwrap();
    let message = next(queue, LONG).await;
    assert_eq!(now(queue, LONG).await, None);
    assert_eq!(queue.depth().await.unwrap(), Depth { visible: 0, in_flight: 1 });
    queue.done(&message.receipt).await.unwrap();
}

async fn what_is_given_back_comes_again_at_once(queue: &Queue) {
    let id = queue.send("x", None).await.unwrap();
    for count in 1..=3 {
        let message = next(queue, LONG).await;
        assert_eq!((message.id.as_str(), message.receive_count), (id.as_str(), count));
        if count < 3 {
            queue.give_back(&message.receipt).await.unwrap();
            assert_eq!(queue.depth().await.unwrap(), Depth { visible: 1, in_flight: 0 });
        } else {
            queue.done(&message.receipt).await.unwrap();
        }
    }
}

async fn what_is_not_done_in_time_comes_again(queue: &Queue, simple: bool) {
    queue.send("x", None).await.unwrap();
    let first = next(queue, SHORT).await;
    let second = next(queue, LONG).await;
    assert_eq!((first.id, second.receive_count), (second.id, 2));
    assert_ne!(first.receipt, second.receipt);
    if !simple {
        // AWS promises nothing here; the others must tell.
        assert!(queue.extend(&first.receipt, LONG).await.unwrap_err().is_lost());
        assert!(queue.give_back(&first.receipt).await.unwrap_err().is_lost());
        assert!(queue.done(&first.receipt).await.unwrap_err().is_lost());
        assert_eq!(queue.depth().await.unwrap(), Depth { visible: 0, in_flight: 1 });
    }
    queue.done(&second.receipt).await.unwrap();
}

async fn what_is_extended_stays(queue: &Queue) {
    queue.send("extended", None).await.unwrap();
    let extended = next(queue, SHORT * 2).await;
    queue.extend(&extended.receipt, LONG).await.unwrap();
    // Another one's time, which began later, tells that the first one's would be over.
    queue.send("not extended", None).await.unwrap();
    let other = next(queue, SHORT * 3).await;
    let again = next(queue, LONG).await;
    assert_eq!((other.body.as_str(), again.body.as_str()), ("not extended", "not extended"));
    assert_eq!(now(queue, LONG).await, None);
    queue.done(&extended.receipt).await.unwrap();
    queue.done(&again.receipt).await.unwrap();
}

async fn who_waits_is_woken_by_a_message(queue: &Queue) {
    let waiting = tokio::spawn({
        let queue = queue.clone();
        async move { next(&queue, LONG).await }
    });
    queue.send("x", None).await.unwrap();
    queue.done(&waiting.await.unwrap().receipt).await.unwrap();
}

async fn what_no_queue_takes_is_refused(queue: &Queue) {
    let refused = |error: Error| assert!(matches!(error, Error::Limit { .. }) && !error.is_away(), "{error}");
    for body in ["", "a\0b", "\u{1b}", &"x".repeat(BODY_BYTES_MAX + 1)] {
        refused(queue.send(body, None).await.unwrap_err());
    }
    refused(queue.send_batch(plain(["good".to_owned(), "\0".to_owned()])).await.unwrap_err());
    refused(queue.send_batch(plain(vec!["x".to_owned(); BATCH_MESSAGES_MAX + 1])).await.unwrap_err());
    assert_eq!(queue.depth().await.unwrap(), Depth::default());
    queue.send("x", None).await.unwrap();
    let message = next(queue, LONG).await;
    for visibility in [Duration::ZERO, SHORT / 2, VISIBILITY_MAX + SHORT] {
        refused(queue.receive(1, Duration::ZERO, visibility).await.unwrap_err());
        refused(queue.extend(&message.receipt, visibility).await.unwrap_err());
    }
    queue.done(&message.receipt).await.unwrap();
}

async fn what_is_not_held_can_not_be_done(queue: &Queue) {
    queue.send("x", None).await.unwrap();
    let message = next(queue, LONG).await;
    queue.done(&message.receipt).await.unwrap();
    assert!(queue.extend(&message.receipt, LONG).await.unwrap_err().is_lost());
    assert!(queue.give_back(&message.receipt).await.unwrap_err().is_lost());
}

async fn of_many_receivers_each_message_has_one(queue: &Queue) {
    const COUNT: usize = 60;
    let sent: BTreeSet<String> =
        queue.send_batch(plain((0..COUNT).map(|n| n.to_string()))).await.unwrap().into_iter().collect();
    let mut receivers = JoinSet::new();
    for _ in 0..4 {
        let queue = queue.clone();
        receivers.spawn(async move {
            let mut got = Vec::new();
            while queue.depth().await.unwrap().visible > 0 {
                got.append(&mut queue.receive(3, Duration::ZERO, LONG).await.unwrap());
            }
            got
        });
    }
    let got: Vec<Message> = receivers.join_all().await.into_iter().flatten().collect();
    assert_eq!(got.len(), COUNT);
    assert_eq!(got.iter().map(|message| message.id.clone()).collect::<BTreeSet<_>>(), sent);
    for message in got {
        assert_eq!(message.receive_count, 1);
        queue.done(&message.receipt).await.unwrap();
    }
}

async fn a_heartbeat_keeps_a_message(queue: &Queue) {
    queue.send("kept", None).await.unwrap();
    let kept = next(queue, SHORT * 4).await;
    let heart = Heartbeat::start(queue.clone(), &kept, SHORT * 4);
    queue.send("left", None).await.unwrap();
    let left = next(queue, SHORT * 6).await;
    // When this one comes again, the other would have come before it.
    let again = next(queue, LONG).await;
    assert_eq!((left.body.as_str(), again.body.as_str()), ("left", "left"));
    assert!(!heart.is_lost());
    heart.done().await.unwrap();
    queue.done(&again.receipt).await.unwrap();
    assert_eq!(queue.depth().await.unwrap(), Depth::default());
}

async fn a_heartbeat_notices_that_another_has_the_message(queue: &Queue) {
    queue.send("x", None).await.unwrap();
    let ours = next(queue, SHORT * 3).await;
    let heart = Heartbeat::start(queue.clone(), &ours, SHORT * 3);
    queue.give_back(&ours.receipt).await.unwrap();
    let theirs = next(queue, LONG).await;
    heart.lost().await;
    assert!(heart.is_lost());
    assert!(heart.done().await.unwrap_err().is_lost());
    queue.done(&theirs.receipt).await.unwrap();
}
