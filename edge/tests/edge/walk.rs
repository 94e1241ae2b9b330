//! Random walks: two origins fail and recover in any order while viewers watch. Whatever happens, what viewers were told
//! stays true, and when everything is well again they go on.
//!
//! Walks are fixed by their seeds, but for the moments at which the edge finds out.

use crate::sim::stream::{Origin, Terms, hash};
use crate::sim::{Fault, Sim};
use crate::support::{Running, within};
use crate::viewer::Viewer;
use std::time::Duration;

/// Steps of a walk.
const STEPS: u64 = 40;

/// Walks of each kind.
const WALKS: u64 = 12;

/// The longest pause between two steps, in milliseconds: longer than an edge waits for an origin that is silent.
const PAUSE_MS: u64 = 250;

/// How long a viewer waits.
const PATIENCE: Duration = Duration::from_millis(400);

/// What viewers may find that is no playlist: nobody answers, or waits for too long.
const TROUBLE: [u16; 4] = [404, 502, 503, 504];

/// One step. `back`: an origin may also go back in time.
async fn step(dice: u64, sims: &[Sim; 2], back: bool) {
    let sim = &sims[(dice / 64 % 2) as usize];
    match dice % 64 {
        0..30 => sims.iter().for_each(Sim::part),
        30..36 => sims.iter().for_each(Sim::segment),
        36..40 => sim.freeze(),
        40..44 => sim.thaw(),
        44..47 => sim.die().await,
        47..51 => sim.come_back().await,
        51..53 => sim.fault("m4s", Fault::Truncate),
        53..54 => sim.fault("m4s", Fault::Stall),
        54..55 => sim.fault("", Fault::Status(404)),
        55..56 => sim.fault("", Fault::Status(500)),
        56..57 => sim.fault("index.m3u8", Fault::Jitter(200)),
        57..58 => sim.fault("", Fault::Hang),
        58..60 if back => sim.fall_back(2),
        _ => sim.mend(),
    }
    tokio::time::sleep(Duration::from_millis(dice / 128 % PAUSE_MS)).await;
}

/// Takes what there is, if there is anything; fetches the newest file of it.
async fn look(viewer: &mut Viewer, sims: &[Sim; 2]) {
    let rendition = viewer.rendition().to_owned();
    let got = viewer.get(&format!("/hls/foo/{rendition}/index.m3u8")).await;
    if got.status != 200 {
        assert!(TROUBLE.contains(&got.status.as_u16()), "{}: {}", got.status, got.text());
        return;
    }
    // Who is slow may have missed a whole window: then he begins anew.
    let encoded = sims.iter().map(Sim::encoded).max().unwrap();
    viewer.history.encoded(encoded, sims[0].terms.begun / 2);
    viewer.see(got.text());
    let newest = viewer.playlist.open.parts.last().or(viewer.playlist.segments.last().map(|last| &last.uri));
    let Some(uri) = newest.cloned() else { return };
    let got = viewer.get(&format!("/hls/foo/{rendition}/{uri}")).await;
    if got.status != 200 || !got.clean {
        return;
    }
    // What comes whole is whole, and is what its origin has under the name that it has there.
    let Origin { seed, piece, .. } = Origin::of(&got.body);
    let terms = sims.iter().map(|sim| &sim.terms).find(|terms| terms.seed == seed).unwrap();
    let (msn, part) = piece.split_once('.').unwrap();
    let (msn, part) = (msn.parse().unwrap(), part.parse().unwrap());
    let expected =
        if uri.matches('.').count() == 2 { terms.part(&rendition, msn, part) } else { terms.segment(&rendition, msn) };
    assert_eq!(got.body, expected, "{uri}");
}

async fn walk(seed: u64, sims: [Sim; 2], back: bool) -> [Viewer; 2] {
    let edge = Running::before(&[&sims[0], &sims[1]]).await;
    let mut viewers =
        [Viewer::join(edge.address, "foo", "source").await, Viewer::join(edge.address, "foo", "audio").await];
    for sim in &sims {
        sim.asked("/source/index.m3u8?_HLS", 1).await;
        sim.asked("/audio/index.m3u8?_HLS", 1).await;
    }
    if sims[0].terms == sims[1].terms {
        edge.agreed("foo").await;
    }
    for number in 0..STEPS {
        step(hash(format!("{seed} {number}").as_bytes()), &sims, back).await;
        // Who waits longer than that leaves.
        let looks = viewers.iter_mut().map(|viewer| tokio::time::timeout(PATIENCE, look(viewer, &sims)));
        futures_util::future::join_all(looks).await;
    }
    // All is well again.
    for sim in &sims {
        sim.mend();
        sim.thaw();
        sim.die().await;
        sim.come_back().await;
    }
    let _running = [sims[0].run(), sims[1].run()];
    for viewer in &mut viewers {
        let far = viewer.playlist.tip().0 + 3;
        let goes_on = async {
            while viewer.playlist.tip().0 < far {
                look(viewer, &sims).await;
            }
        };
        within(&format!("viewers to go on after walk {seed}"), goes_on).await;
    }
    viewers[0].history.assert_in_step_with(&viewers[1].history);
    viewers
}

/// All walks of a kind, at the same time.
async fn walks(first: u64, back: bool, sims: impl AsyncFn() -> [Sim; 2]) -> Vec<(u64, [Viewer; 2])> {
    let walks = (first..first + WALKS).map(async |seed| (seed, walk(seed, sims().await, back).await));
    futures_util::future::join_all(walks).await
}

#[tokio::test]
async fn however_two_agreeing_origins_fail_nobody_sees_a_break() {
    for (seed, viewers) in walks(0, false, || Sim::twins(Terms::default())).await {
        for viewer in viewers {
            assert!(viewer.history.discontinuities().is_empty(), "walk {seed}: {}", viewer.playlist.text);
        }
    }
}

#[tokio::test]
async fn however_two_strangers_fail_what_was_said_stays_true() {
    let walks = walks(100, false, || Sim::strangers(Terms::default())).await;
    let broke = walks.iter().filter(|(_, [viewer, _])| !viewer.history.discontinuities().is_empty()).count();
    assert!(broke > WALKS as usize / 2, "only {broke} walks had a takeover: they test little");
}

#[tokio::test]
async fn origins_that_also_go_back_in_time_take_nobody_with_them() {
    walks(200, true, || Sim::strangers(Terms { window: 12, ..Terms::default() })).await;
}
