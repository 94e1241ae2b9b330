//! A stream's life as tables: a simulated encoder and a simulated ladder, no sockets and no clock.

mod steer_tests;

use super::core::{Core, Effect, Input, Options, State};
use crate::ingest::Ingested;
use bytes::Bytes;
use codec::ladder::{FromLadder, ToLadder};
use media::aac::AudioConfig;
use media::h264::VideoConfig;
use media::ladder::{Ladder, Rendition};
use media::route::File;
use media::unit::VideoUnit;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// 1920x1080 at 30/s, made by libx264.
const SPS: [u8; 30] = [
    0x67, 0x64, 0x00, 0x28, 0xac, 0xd9, 0x40, 0x78, 0x02, 0x27, 0xe5, 0xc0, 0x44, 0x00, 0x00, 0x03, 0x00, 0x04, 0x00,
    0x00, 0x03, 0x00, 0xf0, 0x3c, 0x60, 0xc6, 0x58, 0x00, 0x00, 0x00,
];
const PPS: [u8; 6] = [0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0];

/// UTC of the first tag: a whole number of 2 s segments.
const START: i64 = 1_795_195_500_000;

fn config() -> VideoConfig {
    VideoConfig::from_parameter_sets(&SPS[..27], &PPS).unwrap()
}

/// Another configuration of the same size.
fn other_config() -> VideoConfig {
    VideoConfig::from_parameter_sets(&SPS[..27], &[0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0, 0x80]).unwrap()
}

fn options() -> Options {
    Options {
        segment_ms: 2000,
        part_ms: 500,
        window_s: 120,
        dvr_s: 0,
        reconnect_s: 30,
        ladder: Ladder::default(),
        audio: true,
        projection: None,
        stereo: None,
        protect: None,
    }
}

/// An encoder, a ladder that encodes at once, and the stream between them.
struct World {
    core: Core,
    now: i64,
    /// The encoder's clock, ms.
    clock: f64,
    fps: f64,
    /// Frames since the last key frame, and how many there are between two.
    since_key: u64,
    keyint: u64,
    with_audio: bool,
    audio_clock: f64,
    files: BTreeSet<String>,
    warnings: Vec<String>,
    ladder: Option<FakeLadder>,
    expired: Vec<u64>,
}

/// Copies pictures to each rung at once, as the real one would encode them.
struct FakeLadder {
    rungs: usize,
    seq: u64,
    announced: bool,
    dead: bool,
    /// Rungs that are left out of the segment in hand.
    skip: u8,
    /// If set, what it has to say waits here while no rung is left out, and when it was said.
    late: Option<VecDeque<(i64, Input)>>,
}

impl World {
    fn new(fps: f64, keyint: u64) -> Self {
        Self::with(Core::new(options(), None, START), fps, keyint)
    }

    fn with(core: Core, fps: f64, keyint: u64) -> Self {
        Self {
            core,
            now: START,
            clock: 5000.0,
            fps,
            since_key: 0,
            keyint,
            with_audio: true,
            audio_clock: 5000.0,
            files: BTreeSet::new(),
            warnings: Vec::new(),
            ladder: None,
            expired: Vec::new(),
        }
    }

    fn publish(&mut self) {
        self.feed(Input::Publish(BTreeMap::new()));
        self.feed(Input::Tag(Ingested::VideoConfig(config())));
        if self.with_audio {
            self.feed(Input::Tag(Ingested::AudioConfig(AudioConfig::lc(48_000, 2).unwrap())));
        }
        self.since_key = 0;
    }

    /// Sends frames for so many seconds.
    fn run(&mut self, seconds: f64) {
        let frames = (seconds * self.fps).round() as u64;
        for _ in 0..frames {
            let key = self.since_key.is_multiple_of(self.keyint);
            self.frame(if key { 5 } else { 1 });
        }
    }

    /// One frame whose NAL unit is of this type, and the sound up to it.
    fn frame(&mut self, nal: u8) {
        let data = Bytes::from(vec![0, 0, 0, 3, 0x60 | nal, (self.since_key % 251) as u8, 7]);
        self.since_key += 1;
        let rtmp_ms = self.clock.round() as i64 as u32;
        self.feed(Input::Tag(Ingested::Video { rtmp_ms, composition_ms: 0, data }));
        while self.with_audio && self.audio_clock <= self.clock {
            let rtmp_ms = self.audio_clock.round() as i64 as u32;
            self.feed(Input::Tag(Ingested::Audio { rtmp_ms, data: Bytes::from_static(b"aac") }));
            self.audio_clock += 1024.0 / 48.0;
        }
        self.pass(1000.0 / self.fps);
    }

    fn pass(&mut self, ms: f64) {
        self.clock += ms;
        self.now = START + (self.clock - 5000.0).round() as i64;
        self.say(Vec::new());
        self.feed(Input::Tick);
    }

    fn feed(&mut self, input: Input) {
        let mut effects = Vec::new();
        self.core.handle(input, self.now, &mut effects);
        for effect in effects {
            self.obey(effect);
        }
    }

    fn obey(&mut self, effect: Effect) {
        match effect {
            Effect::StartLadder(settings) => {
                self.ladder = Some(FakeLadder {
                    rungs: settings.rungs.len(),
                    seq: 0,
                    announced: false,
                    dead: false,
                    skip: 0,
                    late: None,
                });
            }
            Effect::ToLadder(message) => {
                let replies = self.ladder.as_mut().map(|ladder| ladder.take(message)).unwrap_or_default();
                self.say(replies);
            }
            Effect::File { rendition, file, .. } => {
                let new = self.files.insert(format!("{rendition}/{file}"));
                assert!(new || matches!(file, File::Init(_)), "{rendition}/{file} came twice");
            }
            Effect::Expired(numbers) => self.expired.extend(numbers),
            Effect::Warn(words) => self.warnings.push(words),
            Effect::Changed | Effect::Save => {}
        }
    }

    /// What the ladder says reaches the stream, at once or late.
    fn say(&mut self, replies: Vec<Input>) {
        let now = self.now;
        let Some(ladder) = &mut self.ladder else { return };
        let slow = ladder.skip == 0;
        let due = match &mut ladder.late {
            None => replies,
            Some(late) => {
                late.extend(replies.into_iter().map(|reply| (now, reply)));
                let mut due = Vec::new();
                while let Some((_, reply)) = late.pop_front_if(|(said, _)| !slow || now - *said >= 5000) {
                    due.push(reply);
                }
                due
            }
        };
        due.into_iter().for_each(|reply| self.feed(reply));
    }

    /// Segments of a rendition as `number-offset:seconds`, `-` a gap, `!` a discontinuity; numbers from the first one.
    fn list(&self, rendition: Rendition) -> String {
        let playlist = self.core.playlist(rendition).unwrap();
        let first = (START / 2000) as u64;
        let segment = |(msn, segment): (u64, &media::hls::Segment)| {
            let (gap, break_) = (if segment.gap { "-" } else { "" }, if segment.discontinuity { "!" } else { "" });
            if !segment.gap {
                assert!(self.files.contains(&format!("{rendition}/{}", segment.uri)), "{rendition}/{}", segment.uri);
            }
            format!("{break_}{}:{:.2}{gap}", msn - first, segment.seconds)
        };
        (playlist.media_sequence..).zip(&playlist.segments).map(segment).collect::<Vec<_>>().join(" ")
    }

    /// The same list in every rung; sound may differ by a block.
    fn check(&self, expected: &str) {
        for rendition in [Rendition::Source, Rendition::Encoded(960), Rendition::Encoded(480)] {
            assert_eq!(self.list(rendition), expected, "{rendition}");
        }
        let numbers = |text: &str| text.split(' ').map(|s| s.split(':').next().unwrap().to_owned()).collect::<Vec<_>>();
        let sound = self.list(Rendition::Audio);
        assert_eq!(numbers(&sound), numbers(expected), "sound: {sound}");
    }
}

impl FakeLadder {
    fn take(&mut self, message: ToLadder) -> Vec<Input> {
        if self.dead {
            return Vec::new();
        }
        let mut out = Vec::new();
        let rungs = 0..self.rungs;
        match message {
            ToLadder::Segment { seq, skip, .. } => {
                self.skip = skip;
                if self.seq != 0 {
                    let seq = self.seq;
                    out.extend(rungs.map(|rung| FromLadder::SegmentEnd { rung, seq }));
                }
                self.seq = seq;
            }
            ToLadder::Unit(unit) => {
                if !std::mem::replace(&mut self.announced, true) {
                    out.extend(rungs.clone().map(|rung| FromLadder::Config { rung, config: config() }));
                }
                let seq = self.seq;
                let unit = VideoUnit { dts: unit.pts, ..unit };
                let encoded = rungs.filter(|rung| self.skip & (1 << rung) == 0);
                out.extend(encoded.map(|rung| FromLadder::Unit { rung, seq, unit: unit.clone() }));
            }
            ToLadder::End => {
                let seq = self.seq;
                out.extend(rungs.map(|rung| FromLadder::SegmentEnd { rung, seq }));
                let mut inputs: Vec<Input> = out.into_iter().map(Input::Ladder).collect();
                inputs.push(Input::LadderGone);
                self.dead = true;
                return inputs;
            }
            ToLadder::Config(_) => {}
        }
        out.into_iter().map(Input::Ladder).collect()
    }
}

#[test]
fn publishing_begins_at_the_second_key_frame_and_all_rungs_are_in_step() {
    let mut world = World::new(30.0, 60);
    world.publish();
    world.run(2.0);
    assert!(world.core.multivariant("foo").is_none());
    world.run(4.5);
    world.check("0:2.00 1:2.00 2:2.00");
    let playlist = world.core.multivariant("foo").unwrap();
    assert_eq!(playlist.variants.len(), 3);
    assert_eq!(playlist.variants[0].fps, 30.0);
    assert!(world.warnings.is_empty(), "{:?}", world.warnings);
}

#[test]
fn parts_follow_each_other_before_their_segment_is_whole() {
    let mut world = World::new(30.0, 60);
    world.publish();
    world.run(4.0 + 1.1);
    let playlist = world.core.playlist(Rendition::Source).unwrap();
    let open = playlist.open.unwrap();
    assert_eq!(open.parts.iter().map(|part| part.seconds).collect::<Vec<_>>(), [0.5, 0.5]);
    assert!(world.files.contains(&format!("source/{}", open.parts[1].uri)));
    assert!(open.parts[0].independent && !open.parts[1].independent);
}

#[test]
fn long_key_frame_intervals_set_the_target_and_are_warned_about() {
    let mut world = World::new(30.0, 250);
    world.publish();
    world.run(26.0);
    world.check("0:8.33 1:8.33 2:8.33");
    assert_eq!(world.core.playlist(Rendition::Source).unwrap().target_s, 9);
    assert!(world.warnings[0].contains("8.33 s") && world.warnings[0].contains("OBS"), "{:?}", world.warnings);
}

#[test]
fn uneven_rates_keep_exact_durations() {
    let mut world = World::new(30_000.0 / 1001.0, 60);
    world.publish();
    world.run(9.0);
    let playlist = world.core.playlist(Rendition::Source).unwrap();
    assert!(playlist.segments.iter().all(|segment| (segment.seconds - 2.002).abs() < 1e-6), "{:?}", playlist.segments);
}

#[test]
fn a_publisher_that_comes_back_is_one_discontinuity_and_numbers_go_on() {
    let mut world = World::new(30.0, 60);
    world.publish();
    world.run(6.0);
    world.feed(Input::Unpublish);
    assert!(matches!(world.core.state(), State::Waiting(_)));
    world.check("0:2.00 1:2.00 2:2.00");
    world.pass(2000.0);
    // The encoder starts its clock afresh.
    (world.audio_clock, world.clock) = (world.audio_clock + 2000.0, world.clock);
    world.publish();
    world.run(4.1);
    world.check("0:2.00 1:2.00 2:2.00 !3:2.00 4:2.00");
    let playlist = world.core.playlist(Rendition::Source).unwrap();
    assert_eq!(playlist.segments[3].date_ms - START, 8000, "dates follow the clock on the wall");
    assert_eq!(playlist.discontinuity_sequence, 0);
}

#[test]
fn a_stream_without_a_publisher_ends_and_a_later_publish_is_a_new_epoch() {
    let mut world = World::new(30.0, 60);
    world.publish();
    world.run(6.0);
    world.feed(Input::Unpublish);
    world.pass(29_000.0);
    assert!(matches!(world.core.state(), State::Waiting(_)));
    world.pass(1_500.0);
    assert!(matches!(world.core.state(), State::Ended(_)));
    assert!(world.core.playlist(Rendition::Encoded(960)).unwrap().ended);
    world.check("0:2.00 1:2.00 2:2.00");
    world.audio_clock = world.clock;
    world.publish();
    world.run(4.1);
    let playlist = world.core.playlist(Rendition::Source).unwrap();
    let expected = (START + 36_500) / 2000;
    assert_eq!(playlist.media_sequence, expected as u64, "numbers follow the clock");
    assert!(!playlist.ended && !playlist.segments[0].discontinuity);
}

#[test]
fn a_dead_ladder_costs_encoded_rungs_and_nothing_else() {
    let mut world = World::new(30.0, 60);
    world.publish();
    world.run(7.0);
    world.ladder.as_mut().unwrap().dead = true;
    world.feed(Input::LadderGone);
    world.run(0.5);
    world.ladder = Some(FakeLadder { rungs: 2, seq: 0, announced: false, dead: false, skip: 0, late: None });
    world.feed(Input::LadderUp);
    world.run(4.6);
    assert_eq!(world.list(Rendition::Source), "0:2.00 1:2.00 2:2.00 3:2.00 4:2.00 5:2.00");
    assert_eq!(world.list(Rendition::Encoded(480)), "0:2.00 1:2.00 2:2.00 3:2.00- 4:2.00 5:2.00");
}

#[test]
fn a_ladder_that_is_full_misses_a_segment_and_goes_on() {
    let mut world = World::new(30.0, 60);
    world.publish();
    world.run(5.0);
    world.feed(Input::LadderFull);
    world.run(7.1);
    assert_eq!(world.list(Rendition::Encoded(480)), "0:2.00 1:2.00 2:2.00- 3:2.00 4:2.00 5:2.00");
    assert!(world.warnings[0].contains("too small"), "{:?}", world.warnings);
}

#[test]
fn rungs_that_the_machine_cannot_afford_are_suspended_largest_first_and_come_back() {
    let mut world = World::new(30.0, 60);
    world.publish();
    world.run(20.0);
    // From here on the ladder ends its segments 5 s late, as long as it is asked for both rungs.
    world.ladder.as_mut().unwrap().late = Some(VecDeque::new());
    world.run(30.0);
    assert_eq!(world.ladder.as_ref().unwrap().skip, 1, "{:?}", world.warnings);
    assert!(world.warnings.iter().any(|words| words.contains("960w is suspended")), "{:?}", world.warnings);
    assert!(world.list(Rendition::Encoded(960)).ends_with('-'));
    assert!(!world.list(Rendition::Encoded(480)).ends_with('-'), "{}", world.list(Rendition::Encoded(480)));
    world.ladder.as_mut().unwrap().late = None;
    world.run(80.0);
    assert_eq!(world.ladder.as_ref().unwrap().skip, 0);
    assert!(!world.list(Rendition::Encoded(960)).ends_with('-'));
}

#[test]
fn without_key_frames_the_source_has_gaps_and_the_encoded_rungs_go_on() {
    let mut world = World::new(30.0, 60);
    world.publish();
    world.run(4.0);
    world.keyint = 150;
    world.since_key = 0;
    world.run(10.1);
    assert_eq!(world.list(Rendition::Source), "0:2.00 1:2.00 2:2.00 3:2.00- 4:1.00- 5:2.00 6:2.00- 7:1.00-");
    assert_eq!(world.list(Rendition::Encoded(960)), "0:2.00 1:2.00 2:2.00 3:2.00 4:1.00 5:2.00 6:2.00 7:1.00");
}

#[test]
fn a_source_without_a_second_key_frame_is_encoded_at_its_own_size() {
    let mut world = World::new(30.0, 100_000);
    world.publish();
    world.run(15.0);
    world.check("0:2.00 1:2.00 2:2.00 3:2.00 4:2.00 5:2.00 6:2.00");
    assert_eq!(world.ladder.as_ref().unwrap().rungs, 3);
    assert!(world.warnings[0].contains("no second key frame"), "{:?}", world.warnings);
}

#[test]
fn pictures_that_flv_calls_key_frames_but_are_no_idr_cut_nothing() {
    let mut world = World::new(30.0, 60);
    world.publish();
    world.run(4.0);
    // NAL type 1 with a recovery point: an open GOP's I picture.
    (0..45).for_each(|_| world.frame(1));
    world.run(0.6);
    let playlist = world.core.playlist(Rendition::Source).unwrap();
    assert!(playlist.segments.iter().all(|segment| (segment.seconds - 2.0).abs() < 1e-6), "{:?}", playlist.segments);
}

#[test]
fn a_new_configuration_is_a_discontinuity_in_every_rendition_with_a_new_init() {
    let mut world = World::new(30.0, 60);
    world.publish();
    world.run(5.0);
    world.feed(Input::Tag(Ingested::VideoConfig(other_config())));
    world.since_key = 0;
    world.run(4.1);
    world.check("0:2.00 1:2.00 2:1.00 !3:2.00 4:2.00");
    let maps: BTreeSet<String> =
        world.core.playlist(Rendition::Source).unwrap().segments.iter().map(|segment| segment.map.clone()).collect();
    assert_eq!(maps.len(), 2);
}

#[test]
fn a_new_audio_configuration_takes_effect_at_the_next_cut() {
    let mut world = World::new(30.0, 60);
    world.publish();
    world.run(5.0);
    world.feed(Input::Tag(Ingested::AudioConfig(AudioConfig::lc(44_100, 2).unwrap())));
    world.run(3.1);
    world.check("0:2.00 1:2.00 2:2.00 !3:2.00");
    let playlist = world.core.playlist(Rendition::Audio).unwrap();
    assert_ne!(playlist.segments[2].map, playlist.segments[3].map);
    let seconds: f64 = playlist.segments.iter().map(|segment| segment.seconds).sum();
    assert!((seconds - 8.0).abs() < 0.05, "{seconds}");
}

#[test]
fn a_source_without_sound_gets_silence() {
    let mut world = World::new(30.0, 60);
    world.with_audio = false;
    world.publish();
    world.run(6.1);
    world.check("0:2.00 1:2.00 2:2.00");
}

#[test]
fn sound_that_starts_before_or_after_pictures_is_in_step() {
    for offset in [-23.0, 23.0, -300.0, 400.0] {
        let mut world = World::new(30.0, 60);
        world.audio_clock += offset;
        world.publish();
        world.run(6.1);
        world.check("0:2.00 1:2.00 2:2.00");
    }
}

#[test]
fn a_video_clock_that_starts_over_is_a_discontinuity() {
    let mut world = World::new(30.0, 60);
    world.publish();
    world.run(6.0);
    world.clock -= 5900.0;
    world.audio_clock = world.clock;
    world.since_key = 0;
    let behind = 5900.0;
    for _ in 0..124 {
        let key = world.since_key.is_multiple_of(60);
        world.frame(if key { 5 } else { 1 });
        world.now += behind as i64;
    }
    assert_eq!(world.list(Rendition::Source).matches('!').count(), 1, "{}", world.list(Rendition::Source));
}

#[test]
fn the_window_slides_and_says_what_left() {
    let mut world = World::with(Core::new(Options { window_s: 20, ..options() }, None, START), 30.0, 60);
    world.publish();
    world.run(41.0);
    let playlist = world.core.playlist(Rendition::Source).unwrap();
    assert_eq!(playlist.segments.len(), 10);
    assert_eq!(world.expired.len() as u64, playlist.media_sequence - (START / 2000) as u64);
}

/// A stream with a live window of 20 s that viewers may go back a minute in, all of which is recorded at once.
fn long_world() -> World {
    let mut world = World::with(Core::new(Options { window_s: 20, dvr_s: 60, ..options() }, None, START), 30.0, 60);
    world.publish();
    world
}

/// So many seconds, in which what was whole by then is recorded.
fn run_recorded(world: &mut World, seconds: u32) {
    for _ in 0..seconds {
        world.run(1.0);
        let segment = |name: &String| {
            let (rendition, file) = name.split_once('/')?;
            let Some(File::Segment(msn)) = File::parse(file) else { return None };
            Some((rendition.parse().ok()?, msn))
        };
        let recorded = world.files.iter().filter_map(segment).collect();
        world.feed(Input::Recorded(recorded, true));
    }
}

#[test]
fn viewers_may_go_back_as_far_as_there_is_a_recording() {
    let mut world = long_world();
    run_recorded(&mut world, 51);
    let renditions: Vec<Rendition> = world.core.window().unwrap().renditions().collect();
    for &rendition in &renditions {
        let playlist = world.core.playlist(rendition).unwrap();
        let live = playlist.media_sequence - (START / 2000) as u64;
        assert_eq!((playlist.past.len() as u64, live), (live, world.expired.len() as u64), "{rendition}");
        assert!(playlist.past.len() + playlist.segments.len() >= 24, "{rendition}");
        assert!(playlist.render().contains(&format!("#EXT-X-MEDIA-SEQUENCE:{}\n", START / 2000)), "{rendition}");
    }
    run_recorded(&mut world, 60);
    let window = world.core.window().unwrap();
    let length = window.end() - window.slot(window.numbers().start).unwrap().start;
    assert!((20 * 90_000..=22 * 90_000).contains(&length), "the live window is as long as ever: {length}");
    for &rendition in &renditions {
        let playlist = world.core.playlist(rendition).unwrap();
        let listed = playlist.past.len() + playlist.segments.len();
        assert!((30..=32).contains(&listed), "{rendition}: {listed}");
    }
}

#[test]
fn without_a_recording_the_list_is_the_live_window_again() {
    let mut world = long_world();
    run_recorded(&mut world, 51);
    assert_eq!(world.core.window().unwrap().listed_from(), (START / 2000) as u64);
    world.feed(Input::Recorded(Vec::new(), false));
    world.run(30.0);
    let window = world.core.window().unwrap();
    assert_eq!(window.listed_from(), window.numbers().start);
    assert!(world.core.playlist(Rendition::Source).unwrap().segments.len() <= 11);
}

#[test]
fn a_new_epoch_knows_whether_the_recording_goes_on() {
    let mut world = long_world();
    world.feed(Input::Recorded(Vec::new(), true));
    world.run(35.0);
    let window = world.core.window().unwrap();
    assert_eq!(window.numbers().start, (START / 2000) as u64, "a recorder that is slow is waited for");
    assert!(world.expired.is_empty());
}

#[test]
fn a_restart_keeps_the_window_and_numbers_go_on() {
    let mut world = World::new(30.0, 60);
    world.publish();
    world.run(7.0);
    let text = serde_json::to_vec(&world.core.saved().unwrap()).unwrap();
    let files = world.files.clone();
    let restored = Core::restore(options(), serde_json::from_slice(&text).unwrap(), world.now, |rendition, file| {
        files.contains(&format!("{rendition}/{file}"))
    });
    let mut world = World { core: restored, ..world };
    // What was in progress keeps its number: somebody may have parts of it.
    world.check("0:2.00 1:2.00 2:2.00 3:2.00-");
    assert!(world.core.multivariant("foo").is_some());
    world.pass(1000.0);
    world.audio_clock = world.clock;
    world.publish();
    world.run(4.1);
    world.check("0:2.00 1:2.00 2:2.00 3:2.00- !4:2.00 5:2.00");
}

#[test]
fn the_layout_comes_from_config_then_query_then_metadata_then_shape() {
    let layout = |projection: Option<&str>, query: Option<&str>, metadata: Option<&str>| {
        let projection = projection.map(|text| text.parse().unwrap());
        let mut world = World::with(Core::new(Options { projection, ..options() }, None, START), 30.0, 60);
        let params = query.map(|value| ("proj".to_owned(), value.to_owned()));
        world.feed(Input::Publish(params.into_iter().collect()));
        let projection = metadata.map(str::to_owned);
        world.feed(Input::Tag(Ingested::Metadata(media::flv::Metadata { projection, ..Default::default() })));
        world.feed(Input::Tag(Ingested::VideoConfig(config())));
        world.run(2.1);
        format!("{:?}", world.core.layout().projection)
    };
    assert_eq!(layout(None, None, None), "Equirect");
    assert_eq!(layout(None, None, Some("flat")), "Flat");
    assert_eq!(layout(None, Some("cubemap"), Some("flat")), "Cubemap");
    assert_eq!(layout(Some("hequ"), Some("cubemap"), None), "Hequ");
}
