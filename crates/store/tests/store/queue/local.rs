//! A queue in a folder: what is promised, and that nothing is lost or doubled, whoever is killed and whatever lies there.

use super::suite::{self, LONG, SHORT, next, now};
use crate::again;
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, SystemTime};
use store::{Clock, Depth, Message, Outgoing, Queue, QueueSettings};

/// A clock that is ahead of the system's.
fn ahead(by: Duration) -> QueueSettings {
    QueueSettings { clock: Clock::new(move || SystemTime::now() + by), ..QueueSettings::default() }
}

async fn open(folder: &Path) -> Queue {
    Queue::open("local:", folder).await.unwrap()
}

async fn open_later(folder: &Path, by: Duration) -> Queue {
    Queue::open_with("local:", folder, ahead(by)).await.unwrap()
}

/// All that can be had now.
async fn drain(queue: &Queue) -> Vec<Message> {
    let mut all = Vec::new();
    loop {
        let mut some = queue.receive(10, Duration::ZERO, LONG).await.unwrap();
        if some.is_empty() {
            return all;
        }
        all.append(&mut some);
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Runs a test of this file again on a queue, its lines to be read.
fn spawn(test: &str, folder: &Path) -> (Child, impl Iterator<Item = String> + use<>) {
    let mut child = again::command(&format!("queue::local::{test}"), folder.to_str().unwrap())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    (child, lines)
}

/// The rest of a line that a second process said.
fn told<'a>(line: &'a str, word: &str) -> Option<&'a str> {
    // The first one stands behind what the test runner says.
    let (_, rest) = line.split_once(&format!("@{word} "))?;
    Some(rest)
}

#[tokio::test]
async fn a_folder_holds_what_is_promised() {
    let folder = tempfile::tempdir().unwrap();
    suite::all(&open(&folder.path().join("not/yet")).await, false).await;
    let settings = QueueSettings { max_receives: 2, ..QueueSettings::default() };
    suite::mortal(&Queue::open_with("local:", folder.path(), settings).await.unwrap()).await;
}

#[tokio::test]
async fn what_a_killed_process_had_comes_again_when_its_time_is_over() {
    if let Some(folder) = again::role() {
        let message = next(&open(Path::new(&folder)).await, LONG).await;
        println!("@has {}", message.id);
        return std::future::pending().await;
    }
    let folder = tempfile::tempdir().unwrap();
    let queue = open(folder.path()).await;
    let id = queue.send("x", None).await.unwrap();
    let (mut child, mut lines) = spawn("what_a_killed_process_had_comes_again_when_its_time_is_over", folder.path());
    assert!(lines.any(|line| told(&line, "has") == Some(&id)));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(now(&queue, LONG).await, None);
    let later = open_later(folder.path(), LONG).await;
    let message = now(&later, LONG).await.unwrap();
    assert_eq!((message.id, message.receive_count), (id, 2));
}

#[tokio::test]
async fn eight_processes_take_two_hundred_messages_once_each() {
    const TEST: &str = "eight_processes_take_two_hundred_messages_once_each";
    if let Some(folder) = again::role() {
        let queue = open(Path::new(&folder)).await;
        while queue.depth().await.unwrap() != Depth::default() {
            for message in queue.receive(3, Duration::from_millis(50), LONG).await.unwrap() {
                println!("@took {} {}", message.id, message.receive_count);
                queue.done(&message.receipt).await.unwrap();
            }
        }
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let queue = open(folder.path()).await;
    let jobs = |range: std::ops::Range<u32>| suite::plain(range.map(|n| format!("job {n}")));
    let mut sent = queue.send_batch(jobs(0..100)).await.unwrap();
    let mut processes: Vec<_> = (0..7).map(|_| spawn(TEST, folder.path())).collect();
    // The others while they are at it. Should they be through before, one more comes to the end.
    sent.extend(queue.send_batch(jobs(100..200)).await.unwrap());
    processes.push(spawn(TEST, folder.path()));
    let mut took: Vec<String> = Vec::new();
    for (mut child, lines) in processes {
        took.extend(lines.filter_map(|line| told(&line, "took").map(str::to_owned)));
        assert!(child.wait().unwrap().success());
    }
    took.sort();
    let mut expected: Vec<String> = sent.iter().map(|id| format!("{id} 1")).collect();
    expected.sort();
    assert_eq!(took, expected);
    assert_eq!(queue.depth().await.unwrap(), Depth::default());
}

#[tokio::test]
async fn a_process_that_is_killed_anywhere_loses_and_doubles_nothing() {
    const TEST: &str = "a_process_that_is_killed_anywhere_loses_and_doubles_nothing";
    if let Some(folder) = again::role() {
        let queue = open(Path::new(&folder)).await;
        for n in 0_u64.. {
            println!("@sent {}", queue.send(&format!("job {n}"), Some(&n.to_string())).await.unwrap());
            let message = next(&queue, LONG).await;
            if n % 2 == 0 {
                println!("@finishing {}", message.id);
                queue.done(&message.receipt).await.unwrap();
                println!("@done {}", message.id);
            } else {
                queue.extend(&message.receipt, LONG).await.unwrap();
                queue.give_back(&message.receipt).await.unwrap();
            }
        }
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (mut sent, mut finishing, mut done) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for round in 0..20 {
        let (mut child, mut lines) = spawn(TEST, folder.path());
        let mut note = |line: String| {
            for (word, set) in [("sent", &mut sent), ("finishing", &mut finishing), ("done", &mut done)] {
                set.extend(told(&line, word).map(str::to_owned));
            }
        };
        for _ in 0..5 + round * 7 % 31 {
            note(lines.next().expect("the process ended by itself"));
        }
        child.kill().unwrap();
        // What it said before it died counts.
        lines.for_each(note);
        child.wait().unwrap();
    }
    assert!(!done.is_empty());
    // When nobody has anything any more.
    let left = drain(&open_later(folder.path(), LONG * 2).await).await;
    let ids: BTreeSet<String> = left.iter().map(|message| message.id.clone()).collect();
    assert_eq!(ids.len(), left.len(), "doubled");
    assert_eq!(ids.intersection(&done).next(), None, "done and here again");
    let gone: Vec<_> = sent.iter().filter(|id| !ids.contains(*id) && !finishing.contains(*id)).collect();
    assert!(gone.is_empty(), "lost: {gone:?}");
    assert!(left.iter().all(|message| message.body.starts_with("job ")));
    assert!(
        files(&folder.path().join("queue/broken")).is_empty() && files(&folder.path().join("queue/dlq")).is_empty()
    );
}

#[tokio::test]
async fn a_word_against_doubles_counts_while_its_message_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let queue = open(folder.path()).await;
    let first = queue.send("x", Some("word")).await.unwrap();
    assert_eq!(queue.send("y", Some("word")).await.unwrap(), first);
    let message = next(&queue, LONG).await;
    assert_eq!((queue.send("y", Some("word")).await.unwrap(), message.body.as_str()), (first.clone(), "x"));
    assert_eq!(queue.depth().await.unwrap(), Depth { visible: 0, in_flight: 1 });
    queue.done(&message.receipt).await.unwrap();
    assert_ne!(queue.send("z", Some("word")).await.unwrap(), first);
    let twice = |word: &str| Outgoing { body: "x".to_owned(), dedup: Some(word.to_owned()) };
    let ids = queue.send_batch(vec![twice("a"), twice("b"), twice("a")]).await.unwrap();
    assert!(ids[0] == ids[2] && ids[0] != ids[1]);
    assert_eq!(queue.depth().await.unwrap(), Depth { visible: 3, in_flight: 0 });
}

#[tokio::test]
async fn of_many_senders_of_a_word_one_sends() {
    let folder = tempfile::tempdir().unwrap();
    let mut senders = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let queue = open(folder.path()).await;
        senders.spawn(async move { queue.send("x", Some("word")).await.unwrap() });
    }
    let ids: BTreeSet<String> = senders.join_all().await.into_iter().collect();
    assert_eq!((ids.len(), drain(&open(folder.path()).await).await.len()), (1, 1));
}

#[tokio::test]
async fn garbage_is_skipped_and_torn_messages_are_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let queue = open(folder.path()).await;
    let (messages, broken) = (folder.path().join("queue/messages"), folder.path().join("queue/broken"));
    // Each torn in another way; then the garbage, so that all of it is older than what is good.
    for n in 0..4 {
        queue.send(&format!("torn {n}"), None).await.unwrap();
    }
    for (n, file) in files(&messages).iter().enumerate() {
        let content = fs::read(file).unwrap();
        let torn = match n {
            0 => Vec::new(),
            1 => content[..content.len() - 1].to_vec(),
            2 => [&content[..content.len() - 6], &[0; 6]].concat(),
            _ => vec![b'x'; 300_000],
        };
        fs::write(file, torn).unwrap();
    }
    let torn = files(&messages);
    let name = |file: &Path| file.file_name().unwrap().to_str().unwrap().to_owned();
    fs::write(messages.join("README"), "hello").unwrap();
    fs::write(messages.join("000000000000-0-0.0.0"), "hello").unwrap();
    fs::write(messages.join(".tmp-1-1"), "half a").unwrap();
    fs::write(messages.join(format!("{}~", name(&torn[0]))), "an editor's").unwrap();
    // Would be the oldest message if it were a file; and a pipe never ends.
    fs::create_dir(messages.join(format!("{:012x}-{:016x}-{:032x}.0.0", 1, 1, 0))).unwrap();
    let pipe = messages.join(format!("{:012x}-{:016x}-{:032x}.0.0", 1, 2, 0));
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    std::os::unix::fs::symlink("/etc/passwd", messages.join(format!("{:012x}-{:016x}-{:032x}.0.0", 1, 3, 0))).unwrap();
    let garbage = files(&messages).len() - torn.len();

    queue.send("good", None).await.unwrap();
    let message = next(&queue, LONG).await;
    assert_eq!((message.body.as_str(), now(&queue, LONG).await), ("good", None));
    assert_eq!(queue.depth().await.unwrap(), Depth { visible: 0, in_flight: 1 });
    assert_eq!(
        files(&broken).iter().map(|f| name(f)).collect::<Vec<_>>(),
        torn.iter().map(|f| name(f)).collect::<Vec<_>>()
    );
    queue.done(&message.receipt).await.unwrap();
    assert_eq!(files(&messages).len(), garbage);
}

#[tokio::test]
async fn a_receive_that_is_dropped_has_taken_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let queue = open(folder.path()).await;
    queue.send("x", None).await.unwrap();
    for _ in 0..20 {
        // Held up in the middle: it has begun and can't go on before it is dropped.
        let mut options = fs::File::options();
        let lock = options.create(true).truncate(false).write(true).open(folder.path().join("queue/lock")).unwrap();
        lock.lock().unwrap();
        let mut receive = Box::pin(queue.receive(1, Duration::ZERO, LONG));
        let begun = std::future::poll_fn(|context| std::task::Poll::Ready(receive.as_mut().poll(context).is_pending()));
        assert!(begun.await);
        drop(receive);
        drop(lock);
        let message = next(&queue, LONG).await;
        queue.give_back(&message.receipt).await.unwrap();
    }
}

#[tokio::test]
async fn who_was_away_too_long_keeps_a_message_that_nobody_else_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let queue = open(folder.path()).await;
    queue.send("x", None).await.unwrap();
    let message = next(&queue, SHORT).await;
    let later = open_later(folder.path(), LONG).await;
    assert_eq!(later.depth().await.unwrap(), Depth { visible: 1, in_flight: 0 });
    later.extend(&message.receipt, LONG).await.unwrap();
    assert_eq!(now(&later, LONG).await, None);
    later.done(&message.receipt).await.unwrap();
    assert_eq!(later.depth().await.unwrap(), Depth::default());
}

#[tokio::test]
async fn a_folder_that_can_not_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Queue::open("local:", &file).await.unwrap_err().to_string();
    assert!(error.contains("file/queue"), "{error}");
}
