//! Random walks: whatever origins do, in whatever order, viewers never see a contradiction.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// What an origin does, or time does.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// So many parts further, and says so on this track.
    Advance(usize, bool, u32),
    /// Says again where it is.
    Repeat(usize, bool),
    /// Says where it was some parts ago.
    GoBack(usize, bool, u32),
    /// Begins anew, with other content, under numbers from here.
    Restart(usize, u64),
    Fail(usize),
    Miss(usize),
    Hold(usize),
    Compare(usize),
    Pin(Option<usize>),
    Wait(u64),
}

fn step(origins: usize) -> impl Strategy<Value = Step> {
    let origin = 0..origins;
    prop_oneof![
        8 => (origin.clone(), any::<bool>(), 0..6u32).prop_map(|(origin, sound, parts)| Step::Advance(origin, sound, parts)),
        2 => (origin.clone(), any::<bool>()).prop_map(|(origin, sound)| Step::Repeat(origin, sound)),
        1 => (origin.clone(), any::<bool>(), 1..30u32).prop_map(|(origin, sound, parts)| Step::GoBack(origin, sound, parts)),
        1 => (origin.clone(), 200..400u64).prop_map(|(origin, number)| Step::Restart(origin, number)),
        1 => origin.clone().prop_map(Step::Fail),
        1 => origin.clone().prop_map(Step::Miss),
        1 => origin.clone().prop_map(Step::Hold),
        2 => origin.clone().prop_map(Step::Compare),
        1 => proptest::option::of(origin).prop_map(Step::Pin),
        6 => (1..2500u64).prop_map(Step::Wait),
    ]
}

/// Where an origin is: content, and parts since the beginning of its numbers. Those of the same content agree.
#[derive(Debug, Clone, Copy)]
struct Place {
    lineage: u64,
    parts: u64,
}

impl Place {
    fn version(self, back: u64) -> super::Version {
        let parts = self.parts.saturating_sub(back).max(12);
        lineage(self.lineage).at(parts / 4, (parts % 4) as u32)
    }
}

/// Everything that was ever said to viewers.
#[derive(Default)]
struct Memory {
    tips: BTreeMap<bool, (u64, u32)>,
    firsts: BTreeMap<bool, u64>,
    /// By track and number: what a segment is.
    said: BTreeMap<(bool, u64), String>,
    /// By number: its discontinuity sequence number, the same in every track.
    discs: BTreeMap<u64, u64>,
    /// By number: which content it stands for.
    contents: BTreeMap<u64, String>,
}

impl Memory {
    fn see(&mut self, sound: bool, text: &Text) {
        let tip = (text.facts.tip.open, text.facts.tip.parts);
        let before = self.tips.insert(sound, tip).unwrap_or_default();
        assert!(before <= tip, "went back from {before:?} to {tip:?}: {}", text.all);
        let first = self.firsts.insert(sound, text.first()).unwrap_or_default();
        assert!(first <= text.first(), "the beginning went back from {first}: {}", text.all);
        let numbers: Vec<u64> = text.segments().iter().map(|block| block.number).collect();
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1));
        for block in text.segments() {
            let what = format!("{:?} {:?} gap {}", block.starts_ms.filter(|_| !block.gap), block.length, block.gap);
            let said = self.said.entry((sound, block.number)).or_insert_with(|| what.clone());
            assert_eq!(*said, what, "{} says another thing: {}", block.number, text.all);
            let disc = *self.discs.entry(block.number).or_insert(block.disc);
            assert_eq!(disc, block.disc, "{} in other discontinuities: {}", block.number, text.all);
            if !block.gap {
                let content = text.map_of(block).unwrap_or_default().to_owned();
                let known = self.contents.entry(block.number).or_insert_with(|| content.clone());
                assert_eq!(*known, content, "{} is two contents: {}", block.number, text.all);
            }
        }
    }
}

fn walk(steps: &[Step], agree: bool) {
    let mut bench = Bench::new(3);
    bench.asked(SOUND);
    let mut memory = Memory::default();
    let mut next_lineage = 10;
    let mut places: Vec<Place> =
        (0..3).map(|origin| Place { lineage: if agree { 1 } else { origin + 1 }, parts: 400 }).collect();
    for step in steps {
        bench.asked(TRACK);
        bench.asked(SOUND);
        let track = |sound| if sound { SOUND } else { TRACK };
        match *step {
            Step::Advance(origin, sound, parts) => {
                places[origin].parts += u64::from(parts);
                bench.gives_of(track(sound), origin, places[origin].version(0));
            }
            Step::Repeat(origin, sound) => {
                bench.gives_of(track(sound), origin, places[origin].version(0));
            }
            Step::GoBack(origin, sound, parts) => {
                bench.gives_of(track(sound), origin, places[origin].version(parts.into()));
            }
            Step::Restart(origin, number) => {
                next_lineage += 1;
                // Ahead of all that anybody had: numbers only go up, and follow the clock.
                let parts = (places[origin].parts / 4 + number) * 4;
                places[origin] = Place { lineage: next_lineage, parts };
            }
            Step::Fail(origin) => drop(bench.fails(origin)),
            Step::Miss(origin) => drop(bench.outcome(TRACK, origin, Outcome::Missing)),
            Step::Hold(origin) => drop(bench.outcome(TRACK, origin, Outcome::Held)),
            Step::Compare(origin) => {
                let now = bench.now();
                for track in [TRACK, SOUND] {
                    if let Some(due) = bench.stream.due_comparison(track, origin, now) {
                        let same = places[due.lead].lineage == places[origin].lineage;
                        bench.stream.on(Event::Compared(due, Some(same)), now);
                    }
                }
            }
            Step::Pin(origin) => {
                let now = bench.now();
                bench.stream.on(Event::Pinned(origin), now);
            }
            Step::Wait(ms) => {
                let at = bench.ms + ms;
                bench.at(at);
            }
        }
        for sound in [false, true] {
            if let Some(shown) = bench.stream.shown(track(sound)) {
                memory.see(sound, &shown.text);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn nothing_that_was_said_is_ever_contradicted(steps in proptest::collection::vec(step(3), 1..120)) {
        walk(&steps, false);
    }

    #[test]
    fn nor_where_they_agree_until_one_restarts(steps in proptest::collection::vec(step(3), 1..120)) {
        walk(&steps, true);
    }
}
