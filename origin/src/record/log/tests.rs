//! A log as a table of what is written when, and as real objects.

use super::*;
use crate::record::ledger::{Entry, Shape};

fn segment(msn: u64) -> Line {
    Line::Segment(Entry {
        rendition: "source".to_owned(),
        msn,
        seconds: 2.0,
        date_ms: 0,
        gap: false,
        discontinuity: false,
        map: "init-0000000000000000.mp4".to_owned(),
        key: String::new(),
        bytes: 1,
        first_chunk: 1,
    })
}

fn session() -> Ledger {
    let mut ledger = Ledger::default();
    let (name, session) = ("foo".to_owned(), "s".to_owned());
    ledger.enter(Line::Session { name, session, began_ms: 7, rungs: true });
    ledger
}

#[test]
fn the_newest_object_grows_until_it_is_full_and_full_ones_are_forgotten_when_they_are_stored() {
    let mut waiting = Waiting::default();
    assert_eq!(waiting.due(), None);
    waiting.add(&[segment(1)]);
    let (number, first) = waiting.due().unwrap();
    waiting.stored(number, first.len());
    assert_eq!((number, waiting.due()), (0, None));
    // The store has what it had; the same object is written again with what came since.
    waiting.add(&[segment(2)]);
    let (number, second) = waiting.due().unwrap();
    assert!(number == 0 && second.starts_with(&first) && second.lines().count() == 2, "{second}");
    let mut msn = 3;
    while waiting.chunks.len() < 3 {
        waiting.add(&[segment(msn)]);
        msn += 1;
    }
    // Oldest first, each whole, none above its length by more than a line.
    for expected in [0, 1, 2] {
        let (number, text) = waiting.due().unwrap();
        assert!(text.len() < CHUNK_BYTES + 1000 && text.ends_with('\n'), "{}", text.len());
        assert_eq!(number, expected);
        waiting.stored(number, text.len());
    }
    assert_eq!((waiting.due(), waiting.chunks.len()), (None, 1), "only the one that grows is kept");
}

#[test]
fn what_comes_while_an_object_is_being_written_is_written_after_it() {
    let mut waiting = Waiting::default();
    waiting.add(&[segment(1)]);
    let (number, text) = waiting.due().unwrap();
    waiting.add(&[segment(2)]);
    waiting.stored(number, text.len());
    assert_eq!(waiting.due().unwrap().1.lines().count(), 2);
}

#[tokio::test]
async fn what_is_read_is_what_the_journal_had_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let config = service::config::Config { data_dir: dir.path().into(), ..Default::default() };
    let stores = Arc::new(Stores::of(&config));
    let mut ledger = session();
    for (began, lines) in [
        (10, vec![Line::Epoch { anchor_ms: 1_795_195_500_000, target_s: 2, protect: false }, segment(1), segment(2)]),
        // The next process: it tells all again, and then what is new.
        (20, vec![Line::Shape(Shape { fps: 30.0, ..Shape::default() }), segment(3)]),
    ] {
        let log = Log::new(&ledger, began);
        log.add(&lines);
        lines.into_iter().for_each(|line| ledger.enter(line));
        log.close();
        assert!(keep(stores.clone(), log.clone(), CancellationToken::new(), CancellationToken::new()).await);
        put_sign(&stores, &log.sign()).await.unwrap();
    }
    let ingest = stores.ingest().await.unwrap();
    assert_eq!(read(&ingest, "foo", "s").await.unwrap(), ledger);
    assert_eq!(read(&ingest, "foo", "other").await.unwrap(), Ledger::default());
    let sign = read_sign(&ingest, &keys::sign("foo", "s")).await.unwrap().unwrap();
    assert_eq!((sign.anchor_ms, sign.asset.as_deref()), (Some(1_795_195_500_000), Some("foo-20261120T172500Z")));
}

#[tokio::test]
async fn what_speaks_of_another_session_or_is_too_long_is_no_part_of_a_log() {
    let dir = tempfile::tempdir().unwrap();
    let config = service::config::Config { data_dir: dir.path().into(), ..Default::default() };
    let ingest = Stores::of(&config).ingest().await.unwrap();
    let text =
        |lines: &[Line]| -> String { lines.iter().map(|line| serde_json::to_string(line).unwrap() + "\n").collect() };
    let other = |name: &str, session: &str| {
        let (name, session) = (name.to_owned(), session.to_owned());
        text(&[Line::Session { name, session, began_ms: 1, rungs: true }, segment(9)])
    };
    let long = " ".repeat(CHUNK_BYTES_MAX as usize + 1);
    let own = text(&[&session().lines()[..], &[segment(1)]].concat());
    for (number, text) in [own, other("bar", "s"), other("foo", "t"), long, text(&[segment(2)])].into_iter().enumerate()
    {
        ingest.put(&format!("rec/foo/s/log/1-{number:05}.jsonl"), text.into(), "application/jsonl").await.unwrap();
    }
    let read = read(&ingest, "foo", "s").await.unwrap();
    assert_eq!((read.name.as_str(), read.session.as_str(), read.began_ms), ("foo", "s", 7));
    assert_eq!(read.newest().map(|(_, msn)| msn).collect::<Vec<_>>(), [2]);
    assert_eq!(read.entries().count(), 2);
    assert_eq!(read_object(&ingest, "a//b", 1).await.unwrap(), None, "a key that is none");
}
