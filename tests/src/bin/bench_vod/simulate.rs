//! A fleet at a job of one hour: tasks as planning cuts them, times as they were measured, by [`e2e::simulation`].

use crate::report::{Goal, Table};
use crate::workers::Measured;
use codec::vod::{Effort, Stamp, Tracks, VideoTrack};
use e2e::simulation::{Overheads, Piece, efficiency};
use media::ladder::Ladder;
use transcoder::plan::{Plan, RungPlan, TaskPlan};
use transcoder::planning::{Input, ProbedReel, plan};

const SECONDS: i64 = 3600;
const FPS: i64 = 30;
const WIDTH: u32 = 3840;

/// Six rungs of a source of 4K.
const LADDER: [&str; 6] = ["source", "2880w 11000k", "1920w 6000k", "1280w 3200k", "960w 2300k", "480w 600k"];

/// Segments of one sheet of thumbnails.
const SHEET: u32 = 100;

/// Fleets that are stated beside the one that is asked for.
const FLEETS: [usize; 6] = [8, 16, 32, 48, 64, 96];

/// Simulates a fleet of so many.
pub(crate) fn measure(workers: usize, measured: &Measured, table: &mut Table) {
    let plan = an_hour();
    let tasks = pieces(&plan, measured.decoding);
    let scale = pixels(&plan) / measured.pixels;
    let Overheads { task_s, .. } = measured.overheads;
    let plan_s = measured.plan_s_per_s * SECONDS as f64;
    // Sheets of thumbnails are what finishing takes, and only the last one waits for the last task: the others are drawn by who
    // completes them.
    let sheets = f64::from(u32::try_from(plan.segments.len()).expect("few").div_ceil(SHEET));
    let sheet_s = measured.finish_s_per_segment * f64::from(SHEET);
    let finish_s = sheet_s;
    let task_s = task_s + (sheets - 1.0) * sheet_s / plan.tasks.len() as f64;
    let overheads = Overheads { plan_s, task_s, finish_s };
    let work =
        measured.segments.iter().sum::<f64>() / measured.segments.len() as f64 * scale * plan.segments.len() as f64;
    eprintln!(
        "simulated: {} segments in {} tasks of {} to {}, {} rungs; a segment {scale:.2} times what was measured; {overheads:.2?}",
        plan.segments.len(),
        tasks.len(),
        plan.tasks.iter().map(TaskPlan::segments).max().unwrap_or_default(),
        plan.tasks.iter().map(TaskPlan::segments).min().unwrap_or_default(),
        plan.rungs.len(),
    );
    let of = |tasks: &[Piece], workers, overheads, shuffled| {
        efficiency(tasks, &measured.segments, scale, workers, overheads, shuffled)
    };
    table.state("simulated_work_h", "simulated job: 1 h of 3840x1920, 6 rungs: work on one core, h", work / 3600.0);
    let (median, low) = of(&tasks, workers, overheads, false);
    let words = format!("simulated efficiency of {workers} workers of a core, {} tasks", tasks.len());
    table.judge("efficiency", words, median, Goal::Least(0.9));
    table.state("efficiency_p5", "the same, one draw in twenty is below", low);
    table.state(
        "efficiency_shuffled",
        "the same on a queue without order (SQS)",
        of(&tasks, workers, overheads, true).0,
    );
    table.state(
        "efficiency_bare",
        "the same without overheads: uneven ends alone",
        of(&tasks, workers, Overheads::default(), false).0,
    );
    for fleet in FLEETS.into_iter().filter(|fleet| *fleet != workers) {
        let words = format!("simulated efficiency of {fleet} workers");
        table.state(&format!("efficiency_{fleet}"), words, of(&tasks, fleet, overheads, false).0);
    }
    let count = plan.segments.len();
    for (name, cut) in others(count) {
        let row: Vec<String> = [16, 32, 48, workers, 96]
            .into_iter()
            .map(|fleet| {
                let (median, low) = of(&cut, fleet, overheads, false);
                format!("{fleet}: {median:.3} ({low:.3})")
            })
            .collect();
        eprintln!("if tasks were {name} ({} tasks): {}", cut.len(), row.join(", "));
    }
}

/// What planning makes of an hour.
fn an_hour() -> Plan {
    let stamps = (0..SECONDS * FPS).map(|number| Stamp { pts: number * 90_000 / FPS, key: number % (2 * FPS) == 0 });
    let video = VideoTrack {
        codec: "h264".to_owned(),
        width: WIDTH,
        height: WIDTH / 2,
        frame_rate: Some((30, 1)),
        layout: None,
        config: "a".to_owned(),
    };
    let reel = ProbedReel {
        key: "uploads/hour.mp4".to_owned(),
        bytes: 9_000_000_000,
        etag: None,
        tracks: Tracks { format: "mov,mp4,m4a,3gp,3g2,mj2".to_owned(), video: Some(video), audio: None },
        video: stamps.collect(),
        audio: Vec::new(),
    };
    let ladder = Ladder::parse(&LADDER).expect("a ladder");
    let input = Input {
        job: "hour-00000000-20261121T170000Z",
        name: "hour",
        start_ms: 0,
        source: "uploads/hour.mp4",
        reels: &[reel],
        layout: None,
        ladder: &ladder,
        effort: Effort::Medium,
    };
    plan(&input).expect("a plan")
}

/// What each task takes: what is encoded goes by pixels, `decoding` is spent whatever is.
fn pieces(plan: &Plan, decoding: f64) -> Vec<Piece> {
    let all = pixels(plan);
    let piece = |task: &TaskPlan| {
        let own = plan.rungs.iter().enumerate().filter(|(rung, _)| task.makes(*rung)).map(|(_, rung)| area(rung));
        let share = own.sum::<f64>() / all;
        Piece { segments: task.segments(), takes: share * (1.0 - decoding) + decoding, counts: share }
    };
    plan.tasks.iter().map(piece).collect()
}

fn area(rung: &RungPlan) -> f64 {
    f64::from(rung.width) * f64::from(rung.height)
}

fn pixels(plan: &Plan) -> f64 {
    plan.rungs.iter().map(area).sum()
}

/// Other ways to cut so many segments: shares of the job, first ones first, and segments to a task.
fn others(count: usize) -> Vec<(&'static str, Vec<Piece>)> {
    let cuts: [(&str, &[(f64, u32)]); 5] = [
        ("of 6 s", &[(1.0, 1)]),
        ("of 12 s", &[(1.0, 2)]),
        ("of 24 s", &[(1.0, 4)]),
        ("of 30 s", &[(1.0, 5)]),
        ("half of 30 s, a quarter of 18 s, 15 % of 12 s, the rest of 6 s", &[(0.5, 5), (0.25, 3), (0.15, 2), (0.1, 1)]),
    ];
    cuts.map(|(name, parts)| (name, cut(count, parts))).into()
}

fn cut(count: usize, parts: &[(f64, u32)]) -> Vec<Piece> {
    let (mut out, mut left) = (Vec::new(), count);
    for (share, size) in parts {
        let number = (count as f64 * share / f64::from(*size)).round() as usize;
        for _ in 0..number.min(left / *size as usize) {
            out.push(Piece::whole(*size));
            left -= *size as usize;
        }
    }
    while left > 0 {
        let size = parts.last().map_or(1, |part| part.1).min(u32::try_from(left).unwrap_or(u32::MAX));
        out.push(Piece::whole(size));
        left -= size as usize;
    }
    out
}
