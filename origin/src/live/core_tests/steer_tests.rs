//! What operators and a config that is read again change in a stream's life, and when.

use super::*;
use crate::live::core::Steered;
use media::projection::{Projection, Stereo};

/// The init segments of a rendition's segments, each as a letter in order of appearance.
fn inits(world: &World, rendition: Rendition) -> String {
    let playlist = world.core.playlist(rendition).unwrap();
    let mut known: Vec<&str> = Vec::new();
    let mut letters = String::new();
    for segment in &playlist.segments {
        let at = known.iter().position(|init| *init == segment.map).unwrap_or_else(|| {
            known.push(&segment.map);
            known.len() - 1
        });
        letters.push(char::from(b'a' + at as u8));
    }
    letters
}

fn check_inits(world: &World, pictures: &str, sound: &str) {
    for rendition in [Rendition::Source, Rendition::Encoded(960), Rendition::Encoded(480)] {
        assert_eq!(inits(world, rendition), pictures, "{rendition}");
    }
    assert_eq!(inits(world, Rendition::Audio), sound);
}

#[test]
fn a_new_layout_begins_at_the_next_key_frame_behind_a_discontinuity_in_every_rung() {
    let mut world = World::new(30.0, 60);
    world.publish();
    world.run(5.0);
    world.feed(Input::Layout(None, Some(Stereo::Tb)));
    assert_eq!(world.core.layout_takes_effect(), Steered::NextKeyFrame);
    assert_eq!(world.core.layout().stereo, Stereo::Mono, "it has not begun");
    world.run(5.1);
    world.check("0:2.00 1:2.00 2:2.00 !3:2.00 4:2.00");
    check_inits(&world, "aaabb", "aaaaa");
    assert_eq!((world.core.layout().stereo, world.core.layout().projection), (Stereo::Tb, Projection::Equirect));
    world.feed(Input::Layout(None, Some(Stereo::Tb)));
    assert_eq!(world.core.layout_takes_effect(), Steered::Already);
    world.run(4.0);
    world.check("0:2.00 1:2.00 2:2.00 !3:2.00 4:2.00 5:2.00 6:2.00");
}

#[test]
fn a_layout_that_is_taken_back_before_its_key_frame_changes_nothing() {
    let mut world = World::new(30.0, 60);
    world.publish();
    world.run(5.0);
    world.feed(Input::Layout(Some(Projection::Flat), None));
    world.feed(Input::Layout(Some(Projection::Equirect), None));
    world.run(5.1);
    world.check("0:2.00 1:2.00 2:2.00 3:2.00 4:2.00");
}

#[test]
fn without_a_publisher_a_layout_waits_for_the_next_and_outlives_the_epoch() {
    let mut world = World::new(30.0, 60);
    world.publish();
    world.run(6.0);
    world.feed(Input::Unpublish);
    world.feed(Input::Layout(Some(Projection::Hequ), None));
    assert_eq!(world.core.layout_takes_effect(), Steered::NextPublish);
    world.publish();
    world.run(4.1);
    check_inits(&world, "aaabb", "aaaaa");
    world.feed(Input::End);
    world.pass(5_000.0);
    assert!(matches!(world.core.state(), State::Ended(_)));
    world.publish();
    world.run(4.1);
    assert_eq!(world.core.layout().projection, Projection::Hequ);
}

#[test]
fn a_new_config_holds_from_the_next_epoch_on_but_for_how_long_it_is_waited() {
    let mut world = World::new(30.0, 60);
    world.publish();
    world.run(6.0);
    let configured = Options { window_s: 30, part_ms: 250, reconnect_s: 5, ..options() };
    world.feed(Input::Configure(Box::new(configured)));
    world.feed(Input::Unpublish);
    world.pass(1_000.0);
    world.publish();
    world.run(4.1);
    assert_eq!(world.core.window().unwrap().terms().window_s, 120, "it goes on as it was promised");
    world.feed(Input::Unpublish);
    world.pass(5_500.0);
    assert!(matches!(world.core.state(), State::Ended(_)), "it waited as long as the new config says");
    world.publish();
    world.run(4.1);
    let terms = world.core.window().unwrap().terms();
    assert!(terms.window_s == 30 && terms.part_ms < 300, "{terms:?}");
}

#[test]
fn a_mark_is_at_the_newest_picture_and_needs_one() {
    let mut world = World::new(30.0, 60);
    assert_eq!(world.core.newest_ms(), None);
    world.publish();
    world.run(5.0);
    let newest = world.core.newest_ms().unwrap() - START;
    assert!((4_900..=5_000).contains(&newest), "{newest}");
    world.feed(Input::End);
    world.pass(5_000.0);
    assert_eq!(world.core.newest_ms(), None, "an ended stream takes no marks");
}

#[test]
fn what_comes_in_is_measured() {
    let mut world = World::new(30.0, 60);
    world.publish();
    world.run(10.0);
    let vitals = world.core.vitals(world.now);
    assert_eq!((vitals.frames_per_s, vitals.key_frame_interval_s), (Some(30.0), Some(2.0)));
    assert!(vitals.bits_per_s.is_some_and(|bits| bits > 1_000) && vitals.encode_headroom.is_none(), "{vitals:?}");
    let newest = world.core.window().unwrap().next_number() - 1;
    world.feed(Input::Ladder(FromLadder::Worked { seq: newest, busy_us: 500_000 }));
    assert_eq!(world.core.vitals(world.now).encode_headroom, Some(4.0));
    world.feed(Input::Ladder(FromLadder::Worked { seq: 1, busy_us: 1 }));
    assert_eq!(world.core.vitals(world.now).encode_headroom, Some(4.0), "of a segment that nobody knows");
    world.feed(Input::Unpublish);
    assert_eq!(world.core.vitals(world.now).bits_per_s, None);
}
