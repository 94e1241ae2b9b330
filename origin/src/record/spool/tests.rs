//! A session's folder on a real disk.

use super::*;
use crate::record::ledger::Line;

fn spool() -> (tempfile::TempDir, Spool) {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::at(dir.path().join("foo/s"));
    (dir, spool)
}

fn part(number: u64) -> Line {
    Line::Part { number, bytes: 1 }
}

#[test]
fn what_is_added_waits_until_it_is_removed() {
    let (_dir, spool) = spool();
    let body = [Bytes::from_static(b"ab"), Bytes::from_static(b"c")];
    let added = spool.add(Place::Egress, "vod/foo-1/source/7.m4s", &body).unwrap();
    assert_eq!((std::fs::read(&added.path).unwrap(), added.bytes), (b"abc".to_vec(), 3));
    assert_eq!(spool.waiting().unwrap(), std::slice::from_ref(&added));
    assert_eq!(spool.segments().into_iter().collect::<Vec<_>>(), [(("source".parse().unwrap(), 7), 3)]);
    std::fs::remove_file(added.path).unwrap();
    assert_eq!(spool.waiting().unwrap(), []);
}

#[test]
fn a_part_waits_only_when_it_is_closed_and_an_empty_one_never() {
    let (_dir, spool) = spool();
    spool.begin_part(0).unwrap().write_all(b"FLV").unwrap();
    drop(spool.begin_part(1).unwrap());
    assert_eq!((spool.waiting().unwrap(), spool.open_parts()), (Vec::new(), vec![0, 1]));
    let closed = spool.close_part(0, "rec/foo/s/0.flv").unwrap().unwrap();
    assert_eq!(spool.close_part(1, "rec/foo/s/1.flv").unwrap(), None);
    assert_eq!((spool.waiting().unwrap(), spool.open_parts()), (vec![closed], Vec::new()));
}

#[test]
fn a_journal_goes_on_behind_its_last_whole_line() {
    let (_dir, spool) = spool();
    spool.journal().unwrap().write(&[part(0)]).unwrap();
    let mut file = OpenOptions::new().append(true).open(spool.root().join(JOURNAL)).unwrap();
    file.write_all(b"{\"part\":{\"num").unwrap();
    spool.journal().unwrap().write(&[part(1)]).unwrap();
    assert_eq!(spool.ledger().parts.into_keys().collect::<Vec<_>>(), [0, 1]);
}
