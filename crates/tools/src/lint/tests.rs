//! x
use super::fixture::*;
use super::*;
use super::report::Status;

#[test]
fn good_streams_break_nothing() {
    for (name, observed) in [("live", live()), ("vod", vod()), ("encrypted", encrypted())] {
        let report = judge(&observed, &[]);
        println!("=== {name}\n{report}");
    }
    panic!();
}
