//! The ladder in a real process: limits, deaths, and that it says the same as in ours.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use codec::child::{Child, Limits, SendError};
use codec::ladder::{FromLadder, RungSettings, Settings, ToLadder};
use codec::wire::{self, ToChild};
use common::{Output, Source, make, run, rung, settings};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

fn exe() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_codec-ladder-child"))
}

fn source() -> Source {
    make("testsrc2=size=320x160:rate=30:duration=3", "-preset ultrafast -bf 2 -g 30 -sc_threshold 0 -pix_fmt yuv420p")
}

const RUNGS: [RungSettings; 2] = [
    RungSettings { width: 160, height: 80, bitrate: 300_000 },
    RungSettings { width: 80, height: 40, bitrate: 100_000 },
];

/// Sends one message, taking output while the child is behind.
async fn send(child: &mut Child, message: ToLadder, take: &mut impl FnMut(FromLadder)) {
    while child.try_send(message.clone()) == Err(SendError::Full) {
        // Room comes when the child has read on, which need not give any output.
        tokio::select! {
            message = child.recv() => take(message.expect("the child is alive")),
            () = tokio::task::yield_now() => {}
        }
    }
}

/// Waits until a process is gone, or is but an entry that nobody has asked about.
async fn gone(pid: u32) {
    let alive = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
    };
    while alive() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[allow(unsafe_code)]
fn signal(pid: u32, signal: i32) {
    // SAFETY: a system call with plain numbers, on a process that this test started.
    assert_eq!(unsafe { libc::kill(pid as i32, signal) }, 0);
}

#[tokio::test]
async fn a_child_says_the_same_as_an_engine_and_ends_by_itself() {
    let source = source();
    let expected = run(settings(&source, &RUNGS, 1000), source.cut_at_idrs(5));
    // A queue of 4 messages: the way through `Full` is walked, too.
    let limits = Limits { queue_messages: 4, ..Limits::default() };
    let mut child = Child::spawn(exe(), settings(&source, &RUNGS, 1000), limits).await.unwrap();
    let mut output = Output::default();
    for message in source.cut_at_idrs(5).into_iter().chain([ToLadder::End]) {
        send(&mut child, message, &mut |message| output.take(message)).await;
    }
    while let Some(message) = child.recv().await {
        output.take(message);
    }
    assert_eq!(output, expected);
    let pid = child.pid();
    child.shutdown().await;
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

#[tokio::test]
async fn a_child_that_is_killed_ends_the_stream_of_messages_and_nothing_else() {
    let source = source();
    let mut child = Child::spawn(exe(), settings(&source, &RUNGS, 1000), Limits::default()).await.unwrap();
    for message in source.cut_at_idrs(0) {
        send(&mut child, message, &mut |_| ()).await;
    }
    assert!(child.recv().await.is_some());
    signal(child.pid(), libc::SIGKILL);
    while child.recv().await.is_some() {}
    while child.try_send(ToLadder::End) != Err(SendError::Gone) {
        tokio::task::yield_now().await;
    }
    child.shutdown().await;
}

#[tokio::test]
async fn a_child_that_hangs_fills_its_queue_and_is_killed() {
    let source = source();
    let limits = Limits { queue_bytes: 4 << 20, stall: Duration::from_millis(200), ..Limits::default() };
    let mut child = Child::spawn(exe(), settings(&source, &RUNGS, 1000), limits).await.unwrap();
    signal(child.pid(), libc::SIGSTOP);
    let mut unit = source.units[0].clone();
    unit.data = vec![0; 1 << 20].into();
    while child.try_send(ToLadder::Unit(unit.clone())) != Err(SendError::Full) {}
    assert_eq!(child.recv().await, None);
    gone(child.pid()).await;
}

#[tokio::test]
async fn a_dropped_child_is_gone() {
    let source = source();
    let child = Child::spawn(exe(), settings(&source, &RUNGS, 1000), Limits::default()).await.unwrap();
    let pid = child.pid();
    drop(child);
    gone(pid).await;
}

#[tokio::test]
async fn a_child_cannot_take_more_memory_than_it_is_given() {
    let source = make("testsrc2=size=1920x960:rate=30:duration=1", "-preset ultrafast -g 30 -pix_fmt yuv420p");
    let limits = Limits { memory_bytes: 24 << 20, ..Limits::default() };
    let rungs = [rung(960, 480, 2_000_000)];
    let mut child = Child::spawn(exe(), settings(&source, &rungs, 1000), limits).await.unwrap();
    for message in source.cut_at_idrs(0).into_iter().chain([ToLadder::End]) {
        if child.try_send(message) == Err(SendError::Gone) {
            break;
        }
    }
    let mut ended = false;
    while let Some(message) = child.recv().await {
        ended |= matches!(message, FromLadder::SegmentEnd { .. });
    }
    assert!(!ended, "24 MB cannot hold what a 1920x960 source needs");
}

#[tokio::test]
async fn what_the_ladder_refuses_comes_back_in_words() {
    let source = source();
    let mut child =
        Child::spawn(exe(), settings(&source, &[rung(33, 16, 100_000)], 1000), Limits::default()).await.unwrap();
    let why = "picture size is 33x16, and must be even, 2 to 16384".to_owned();
    assert_eq!(child.recv().await, Some(FromLadder::Failed { why }));
    assert_eq!(child.recv().await, None);
}

#[tokio::test]
async fn a_binary_that_is_not_there_is_an_error() {
    let source = source();
    let error = Child::spawn(Path::new("/no/such/live360"), settings(&source, &RUNGS, 1000), Limits::default()).await;
    assert!(error.unwrap_err().to_string().starts_with("starting the ladder's process"));
}

/// Runs a child on these bytes; its exit code, stdout and stderr.
fn run_on(bytes: Vec<u8>) -> (Option<i32>, Vec<u8>, String) {
    let mut child =
        Command::new(exe()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // The child may end before it has read everything.
    let writer = std::thread::spawn(move || drop(std::io::Write::write_all(&mut stdin, &bytes)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    (output.status.code(), output.stdout, String::from_utf8(output.stderr).unwrap())
}

fn conversation(settings: Settings, messages: Vec<ToLadder>) -> Vec<u8> {
    let first = ToChild::Settings(settings);
    let rest = messages.into_iter().map(ToChild::Ladder);
    std::iter::once(first).chain(rest).flat_map(|message| wire::encode_to_child(&message)).collect()
}

#[test]
fn nothing_is_in_the_log_of_a_healthy_child_such_as_options_x264_does_not_know() {
    let source = source();
    let messages = source.cut_at_idrs(0).into_iter().chain([ToLadder::End]).collect();
    let (code, stdout, log) = run_on(conversation(settings(&source, &RUNGS, 1000), messages));
    assert_eq!((code, log.as_str()), (Some(0), ""));
    assert!(!stdout.is_empty());
}

#[test]
fn a_parent_that_talks_nonsense_is_told_so() {
    let check = |bytes: Vec<u8>, expected: &str| {
        let (code, stdout, log) = run_on(bytes);
        assert_eq!((code, log.trim()), (Some(1), expected));
        let message = wire::decode_from_child(bytes::Bytes::from(stdout).slice(4..)).unwrap();
        assert_eq!(message, FromLadder::Failed { why: expected.to_owned() });
    };
    let source = source();
    check(vec![0xFF; 64], "between parent and child: malformed message: a message of more than 16 MiB");
    check(vec![0, 0, 0, 1, 99], "between parent and child: malformed message: an unknown kind from the parent");
    check(vec![0, 0, 0, 1, 5], "between parent and child: malformed message: settings must come first");
    let twice = conversation(settings(&source, &RUNGS, 1000), Vec::new()).repeat(2);
    check(twice, "between parent and child: malformed message: settings may only come first");
    assert_eq!(run_on(Vec::new()), (Some(0), Vec::new(), String::new()));
}

/// Not a test: what [`no_child_outlives_its_parent`] runs as the parent.
#[tokio::test]
#[ignore = "the parent of another test"]
async fn parent_that_gets_killed() {
    let source = source();
    let child = Child::spawn(exe(), settings(&source, &RUNGS, 1000), Limits::default()).await.unwrap();
    println!("child {}.", child.pid());
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn no_child_outlives_its_parent() {
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "parent_that_gets_killed", "--ignored", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(parent.stdout.take().unwrap()));
    let pid = lines.map_while(Result::ok).find_map(|line| {
        let (_, rest) = line.split_once("child ")?;
        rest.split_once('.')?.0.parse::<u32>().ok()
    });
    let pid = pid.expect("the parent says its child's id");
    // Stopped, it cannot see that its pipes are closed: only the kernel can end it.
    signal(pid, libc::SIGSTOP);
    parent.kill().unwrap();
    parent.wait().unwrap();
    gone(pid).await;
}
