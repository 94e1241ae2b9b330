//! What is kept when disks refuse and processes die, on a real disk.

use super::*;
use crate::record::ledger::{Entry, Reason};
use crate::record::{Recorder, Status};
use media::aac::AudioConfig;
use service::config::{Config, Current};
use std::path::Path;
use tokio_util::sync::CancellationToken;

const ANCHOR: i64 = 1_795_195_500_000;

const END: End = End { reason: Reason::Ended, at_ms: ANCHOR + 60_000 };

fn recorder(dir: &Path, shutdown: &CancellationToken) -> Recorder {
    Recorder::open(
        &Current::new(Config { data_dir: dir.into(), ..Config::default() }),
        service::hooks::Hooks::default(),
        shutdown.clone(),
    )
}

fn begun() -> Vec<Line> {
    let (name, session) = ("foo".to_owned(), "s".to_owned());
    vec![
        Line::Session { name, session, began_ms: ANCHOR, rungs: true },
        Line::Epoch { anchor_ms: ANCHOR, target_s: 2, protect: false },
    ]
}

fn segment(msn: u64) -> Line {
    Line::Segment(Entry {
        rendition: "source".to_owned(),
        msn,
        seconds: 2.0,
        date_ms: ANCHOR,
        gap: false,
        discontinuity: false,
        map: "init-0123456789abcdef.mp4".to_owned(),
        key: String::new(),
        bytes: 5,
        first_chunk: 1,
    })
}

fn file(file: File) -> Item {
    Item::File(Rendition::Source, file, vec![Bytes::from_static(b"bytes")])
}

fn sound(rtmp_ms: u32) -> Item {
    Item::Tag(Ingested::Audio { rtmp_ms, data: Bytes::from_static(b"sound") })
}

fn head() -> Item {
    Item::Tag(Ingested::AudioConfig(AudioConfig::lc(48_000, 2).unwrap()))
}

struct Bench {
    _dir: tempfile::TempDir,
    keeper: Keeper,
    _files: Vec<mpsc::UnboundedReceiver<Waiting>>,
    status: Arc<Status>,
}

impl Bench {
    /// Puts what is in the queue to the keeper.
    fn feed(&mut self, items: Vec<Item>) {
        let (sender, queue) = mpsc::channel(items.len());
        self.keeper.queued.store(items.iter().map(Item::bytes).sum(), Ordering::Relaxed);
        items.into_iter().for_each(|item| assert!(sender.try_send(item).is_ok()));
        drop(sender);
        self.keeper.record(queue);
    }

    fn waiting(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.keeper.spool.waiting().unwrap().into_iter().map(|file| file.key).collect();
        keys.sort();
        keys
    }

    fn gaps(&self) -> Vec<(u64, bool)> {
        self.keeper.ledger.entries().map(|entry| (entry.msn, entry.gap)).collect()
    }
}

fn bench(shared: &Recorder, dir: tempfile::TempDir) -> Bench {
    let (mut uploads, mut files) = (BTreeMap::new(), Vec::new());
    for place in [Place::Ingest, Place::Egress] {
        let (sender, receiver) = mpsc::unbounded_channel();
        uploads.insert(place, sender);
        files.push(receiver);
    }
    let spool = Spool::at(dir.path().join("recording/foo/s"));
    let mut ledger = Ledger::default();
    begun().into_iter().for_each(|line| ledger.enter(line));
    let status = Arc::new(Status::new("on"));
    let (going, log) = (Going::begin(&status, "foo"), Log::new(&ledger, 0));
    let keeper = Keeper::new(shared.0.clone(), spool, ledger, going, uploads, log, Arc::default());
    Bench { _dir: dir, keeper, _files: files, status }
}

/// Runs it where waiting for a queue is allowed.
async fn on_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

#[tokio::test]
async fn a_part_whose_line_a_crash_cut_off_keeps_its_number() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = recorder(&dir.path().join("other"), &CancellationToken::new());
    let mut bench = bench(&recorder, dir);
    on_thread(move || {
        let spool = bench.keeper.spool.clone();
        spool.begin_part(3).unwrap().write_all(b"FLV").unwrap();
        spool.close_part(3, &keys::part("foo", "s", 3)).unwrap();
        bench.keeper.take_up();
        bench.feed(vec![Item::Publish, head(), sound(0)]);
        assert_eq!(bench.waiting(), ["rec/foo/s/3.flv", "rec/foo/s/4.flv"]);
        assert_eq!(spool.ledger().parts.into_keys().collect::<Vec<_>>(), [3, 4]);
    })
    .await;
}

#[tokio::test]
async fn what_a_disk_refuses_is_a_gap_and_the_recording_goes_on_when_it_does_not_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = recorder(&dir.path().join("other"), &CancellationToken::new());
    let mut bench = bench(&recorder, dir);
    on_thread(move || {
        let root = bench.keeper.spool.root().to_owned();
        let init = || File::Init("0123456789abcdef".to_owned());
        fs::create_dir_all(&root).unwrap();
        // No folder can be where a file is.
        fs::write(root.join("egress"), "").unwrap();
        bench.keeper.take_up();
        bench.feed(vec![
            Item::Publish,
            head(),
            sound(0),
            file(init()),
            file(File::Segment(7)),
            sound(20),
            Item::Lines(vec![segment(7)]),
            Item::Again,
        ]);
        assert!(bench.status.words().starts_with("stopped: "), "{}", bench.status.words());
        assert_eq!(bench.waiting(), ["rec/foo/s/0.flv"], "what was there of it can be stored");
        fs::remove_file(root.join("egress")).unwrap();
        bench.feed(vec![
            file(File::Segment(8)),
            sound(40),
            Item::Again,
            file(File::Segment(9)),
            sound(60),
            Item::Lines(vec![segment(8), segment(9)]),
        ]);
        assert_eq!(bench.status.words(), "on");
        let folder = "vod/foo-20261120T172500Z/source";
        let expected = ["rec/foo/s/0.flv", "rec/foo/s/1.flv"].map(str::to_owned).into_iter();
        let files = ["9.m4s", "init-0123456789abcdef.mp4"].map(|name| format!("{folder}/{name}"));
        assert_eq!(bench.waiting(), expected.chain(files).collect::<Vec<_>>());
        assert_eq!(bench.gaps(), [(7, true), (8, true), (9, false)]);
        let part = fs::read(root.join("ingest/rec/foo/s/1.flv")).unwrap();
        assert!(part.starts_with(b"FLV") && part.ends_with(b"sound\0\0\0\x12"), "{part:?}");
    })
    .await;
}

/// What a process left: a journal, a part that was not closed and a segment that waits.
fn left_behind(dir: &Path) -> Spool {
    let spool = Spool::at(dir.join("recording/foo/s"));
    let lines = [begun(), vec![segment(7), Line::End(END)]].concat();
    spool.journal().unwrap().write(&lines).unwrap();
    spool.begin_part(0).unwrap().write_all(b"FLV").unwrap();
    spool.add(Place::Egress, "vod/foo-20261120T172500Z/source/7.m4s", &[Bytes::from_static(b"bytes")]).unwrap();
    spool
}

/// A process that is told to leave as soon as it has begun: it stores what can be stored.
async fn short_life(dir: &Path) {
    let shutdown = CancellationToken::new();
    let recorder = recorder(dir, &shutdown);
    recorder.finish_left();
    shutdown.cancel();
    recorder.finished().await;
}

#[tokio::test]
async fn a_session_whose_folder_can_not_be_read_is_neither_finished_nor_removed() {
    let dir = tempfile::tempdir().unwrap();
    let spool = left_behind(dir.path());
    let ingest = spool.root().join("ingest");
    std::os::unix::fs::symlink(&ingest, &ingest).unwrap();
    assert!(spool.waiting().is_err());
    short_life(dir.path()).await;
    let ended = dir.path().join("ingest/rec/foo/s/ended.json");
    assert!(spool.root().join("egress/vod/foo-20261120T172500Z/source/7.m4s").exists() && !ended.exists());
    assert_eq!(spool.open_parts(), [0]);
    fs::remove_file(ingest).unwrap();
    short_life(dir.path()).await;
    assert!(ended.exists() && !spool.root().exists());
    assert!(dir.path().join("ingest/rec/foo/s/0.flv").exists());
    assert!(dir.path().join("egress/vod/foo-20261120T172500Z/source/7.m4s").exists());
}

#[tokio::test]
async fn a_part_that_could_not_be_closed_stays() {
    let dir = tempfile::tempdir().unwrap();
    let spool = left_behind(dir.path());
    // A file where the part's folder should be.
    fs::create_dir_all(spool.root().join("ingest")).unwrap();
    fs::write(spool.root().join("ingest/rec"), "").unwrap();
    short_life(dir.path()).await;
    assert_eq!(spool.open_parts(), [0]);
    assert!(!dir.path().join("ingest/rec/foo/s/ended.json").exists());
}
