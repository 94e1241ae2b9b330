//! Which tile shows what, and the cues that say so. Knows no pictures.

use super::*;
use crate::plan::TaskPlan;
use crate::planning::tests::{flv, plan_of, reel};

#[test]
fn a_sheet_has_a_hundred_tiles() {
    assert_eq!(layout(0), Vec::<Range<u32>>::new());
    assert!(layout(1).into_iter().eq(std::iter::once(0..1)));
    assert!(layout(100).into_iter().eq(std::iter::once(0..100)));
    assert_eq!(layout(201), [0..100, 100..200, 200..201]);
}

#[test]
fn each_segments_time_has_its_tile() {
    let plan = plan_of(&[reel(flv(30.0, 0..2100, 30), vec![])]).unwrap();
    let expected = "WEBVTT

00:00:00.000 --> 00:00:06.000
thumbs/0.jpg#xywh=0,0,160,80

00:00:12.000 --> 00:00:18.000
thumbs/0.jpg#xywh=320,0,160,80
";
    assert_eq!(vtt(&plan, |number| number == 1 || number > 2), expected);
    let all = vtt(&plan, |_| false);
    assert!(all.ends_with("\n00:01:06.000 --> 00:01:10.000\nthumbs/0.jpg#xywh=160,80,160,80\n"), "{all}");
}

#[test]
fn tiles_go_on_on_the_next_sheet() {
    let plan = plan_of(&[reel(flv(2.0, 0..1300, 2), vec![])]).unwrap();
    assert_eq!(plan.segments.len(), 109);
    let all = vtt(&plan, |_| false);
    assert!(all.contains("\n00:10:00.000 --> 00:10:06.000\nthumbs/1.jpg#xywh=0,0,160,80\n"), "{all}");
}

#[test]
fn a_sheet_is_complete_with_the_last_task_that_makes_its_pictures() {
    let mut plan = plan_of(&[reel(flv(2.0, 0..1300, 2), vec![])]).unwrap();
    let task = |first, after, rungs| TaskPlan { first, after, rungs };
    // The second and the third share a sheet's end; only the pictures of the smallest rung count.
    plan.tasks = vec![task(0, 60, 7), task(60, 104, 3), task(60, 104, 4), task(104, 109, 7)];
    assert_eq!((plan.check(), rung(&plan)), (Ok(()), 2));
    let check = |number, done: &[u32], expected: &[(usize, Vec<u32>)]| {
        assert_eq!(complete(&plan, number, &done.iter().copied().collect()), expected, "{number} of {done:?}");
    };
    check(0, &[0], &[]);
    check(0, &[0, 1], &[]);
    check(2, &[2], &[]);
    check(2, &[0, 2], &[(0, vec![0, 2])]);
    check(0, &[0, 2], &[(0, vec![0, 2])]);
    check(1, &[0, 1, 2], &[]);
    check(2, &[0, 2, 3], &[(0, vec![0, 2]), (1, vec![2, 3])]);
    check(3, &[0, 2, 3], &[(1, vec![2, 3])]);
}

#[test]
fn pictures_come_from_the_narrowest_rung_that_fills_a_tile() {
    let mut plan = plan_of(&[reel(flv(30.0, 0..60, 30), vec![])]).unwrap();
    assert_eq!((rung(&plan), plan.rungs.len()), (2, 3));
    plan.rungs[2].width = 158;
    assert_eq!(rung(&plan), 1);
    plan.rungs.iter_mut().for_each(|rung| rung.width = 64);
    assert_eq!(rung(&plan), 0);
    (plan.rungs[0].width, plan.rungs[0].height) = (1000, 4000);
    assert_eq!(tile(&plan), (160, 320));
}
