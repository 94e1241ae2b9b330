//! Which rungs sources of all sizes get. Knows no encoder.

use super::*;

const DEFAULT: [&str; 7] =
    ["source", "5760w 32000k", "3840w 18000k", "2880w 11000k", "1920w 6000k", "960w 2300k", "480w 600k"];

#[track_caller]
fn check(lines: &[&str], source: (u32, u32), fps: f64, expected: &str) {
    let rungs = rungs(&Ladder::parse(lines).unwrap(), Effort::Medium, source, fps);
    let print = |rung: &RungPlan| format!("{} {}x{} {}k", rung.rendition, rung.width, rung.height, rung.bitrate / 1000);
    assert_eq!(rungs.iter().map(print).collect::<Vec<_>>().join(", "), expected, "{source:?}");
}

#[test]
fn rungs_follow_the_source() {
    check(
        &DEFAULT,
        (3840, 1920),
        30.0,
        "3840w 3840x1920 18000k, 2880w 2880x1440 11000k, 1920w 1920x960 6000k, 960w 960x480 2300k, 480w 480x240 600k",
    );
    check(&DEFAULT, (1920, 1080), 25.0, "1920w 1920x1080 6100k, 960w 960x540 2300k, 480w 480x270 600k");
    check(&DEFAULT, (640, 320), 30.0, "640w 640x320 1200k, 480w 480x240 600k");
    check(&DEFAULT, (480, 240), 30.0, "480w 480x240 800k");
    check(&DEFAULT, (30, 20), 30.0, "source 30x20 600k");
}

#[test]
fn what_is_nearly_the_sources_size_is_left_out() {
    check(&["source", "960w 2300k"], (1066, 534), 30.0, "1066w 1066x534 2600k");
    check(&["source", "960w 2300k"], (1068, 534), 30.0, "1068w 1068x534 2600k, 960w 960x480 2300k");
}

#[test]
fn more_pictures_a_second_and_more_pixels_have_a_higher_cap() {
    check(&["source"], (3840, 1920), 60.0, "3840w 3840x1920 30300k");
    check(&["source"], (8192, 8192), 240.0, "8192w 8192x8192 80000k");
    check(&["source"], (3840, 1920), 0.1, "3840w 3840x1920 1400k");
}

#[test]
fn there_are_six_at_most_and_the_nearest_go_first() {
    check(
        &DEFAULT,
        (7680, 3840),
        30.0,
        "7680w 7680x3840 50900k, 5760w 5760x2880 32000k, 3840w 3840x1920 18000k, 1920w 1920x960 6000k, 960w 960x480 2300k, 480w 480x240 600k",
    );
    let many = ["source", "1000w 900k", "980w 900k", "960w 900k", "940w 900k", "920w 900k", "900w 900k", "100w 90k"];
    check(
        &many,
        (2000, 1000),
        30.0,
        "2000w 2000x1000 6800k, 1000w 1000x500 900k, 960w 960x480 900k, 920w 920x460 900k, 900w 900x450 900k, 100w 100x50 90k",
    );
}

#[test]
fn there_is_always_one_and_sizes_are_even() {
    check(&["960w 2300k"], (800, 400), 30.0, "800w 800x400 1700k");
    check(&["960w 2300k"], (960, 480), 30.0, "960w 960x480 2300k");
    check(&["source", "480w 600k"], (1279, 719), 30.0, "1278w 1278x718 3800k, 480w 480x270 600k");
}
