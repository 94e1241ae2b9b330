//! The VOD child as a process: limits, deaths, nonsense, and files that want more than they should.
#![allow(clippy::unwrap_used, clippy::panic)]

mod films;

use bytes::Bytes;
use codec::vod::child::{Child, Limits};
use codec::vod::{FromVod, Job, SheetJob};
use films::{cut, drive_within, exe, failure, job, mute_film, next, probe, refusal, rung, sound_film};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const X264: &str = "-c:v libx264 -preset veryfast -g 30 -bf 2 -sc_threshold 0";

fn probe_job(files: &[Bytes]) -> Job {
    Job::Probe { reels: films::reels(files) }
}

#[allow(unsafe_code)]
fn signal(pid: u32, signal: i32) {
    // SAFETY: a system call with plain numbers, on a process that this test started.
    assert_eq!(unsafe { libc::kill(pid as i32, signal) }, 0);
}

fn is_gone(pid: u32) -> bool {
    !Path::new(&format!("/proc/{pid}")).exists()
}

#[tokio::test]
async fn a_child_that_is_killed_says_so_and_is_gone() {
    let files = [mute_film("a.mp4", 1, X264)];
    let mut child = Child::spawn(exe(), probe_job(&files), Limits::default()).await.unwrap();
    assert!(matches!(child.next().await, Some(FromVod::Read { reel: 0, offset: 0, .. })));
    signal(child.pid(), libc::SIGKILL);
    let why = "the process was killed by signal 9".to_owned();
    assert_eq!(child.next().await, Some(FromVod::Failed { why, machine: true }));
    assert_eq!(child.next().await, None);
    assert!(is_gone(child.pid()));
    child.kill().await;
}

#[tokio::test]
async fn what_is_sent_to_a_whole_service_ends_no_child_but_a_crash_does() {
    let files = [mute_film("a.mp4", 1, X264)];
    let mut child = Child::spawn(exe(), probe_job(&files), Limits::default()).await.unwrap();
    assert!(matches!(child.next().await, Some(FromVod::Read { .. })));
    let adjusted = std::fs::read_to_string(format!("/proc/{}/oom_score_adj", child.pid())).unwrap();
    assert_eq!(adjusted.trim(), "1000");
    for ignored in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        signal(child.pid(), ignored);
    }
    signal(child.pid(), libc::SIGABRT);
    let why = "the process was killed by signal 6".to_owned();
    assert_eq!(child.next().await, Some(FromVod::Failed { why, machine: false }));
}

#[tokio::test]
async fn kill_waits_until_the_process_is_gone() {
    let files = [mute_film("a.mp4", 1, X264)];
    let mut child = Child::spawn(exe(), probe_job(&files), Limits::default()).await.unwrap();
    assert!(child.next().await.is_some());
    let pid = child.pid();
    child.kill().await;
    assert!(is_gone(pid));
}

#[tokio::test]
async fn a_dropped_child_is_gone() {
    let files = [mute_film("a.mp4", 1, X264)];
    let mut child = Child::spawn(exe(), probe_job(&files), Limits::default()).await.unwrap();
    assert!(child.next().await.is_some());
    let pid = child.pid();
    drop(child);
    // tokio reaps it some time later.
    let alive = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
    };
    while alive() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_child_that_hangs_is_killed_but_not_while_it_waits_for_an_answer() {
    let files = [mute_film("a.mp4", 1, X264)];
    // Long enough for a busy machine to start it.
    let limits = Limits { stall: Duration::from_secs(5), ..Limits::default() };
    let mut child = Child::spawn(exe(), probe_job(&files), limits).await.unwrap();
    let Some(FromVod::Read { offset, length, .. }) = child.next().await else { panic!("it asks first") };
    // Unanswered for longer than that, it is not to blame.
    assert!(tokio::time::timeout(Duration::from_secs(6), child.next()).await.is_err());
    signal(child.pid(), libc::SIGSTOP);
    child.supply(files[0].slice(offset as usize..(offset + u64::from(length)) as usize)).await.unwrap();
    let why = "the process said nothing for 5 s".to_owned();
    assert_eq!(child.next().await, Some(FromVod::Failed { why, machine: false }));
    assert!(is_gone(child.pid()));
}

#[tokio::test]
async fn next_may_be_cancelled_at_any_time() {
    let files = [sound_film("a.mp4", 2, X264)];
    let expected = films::drive(probe_job(&files), &files).await;
    let mut child = Child::spawn(exe(), probe_job(&files), Limits::default()).await.unwrap();
    let mut said = Vec::new();
    loop {
        let message = tokio::select! {
            biased;
            message = child.next() => message,
            () = tokio::task::yield_now() => continue,
        };
        match message {
            Some(FromVod::Read { reel, offset, length }) => {
                let piece = files[reel as usize].slice(offset as usize..offset as usize + length as usize);
                child.supply(piece).await.unwrap();
            }
            Some(message) => said.push(message),
            None => break,
        }
    }
    assert_eq!(said, expected);
}

#[tokio::test]
async fn answers_that_were_not_asked_for_are_refused() {
    let files = [mute_film("a.mp4", 1, X264)];
    let mut child = Child::spawn(exe(), probe_job(&files), Limits::default()).await.unwrap();
    assert!(child.supply(Bytes::from_static(b"early")).await.is_err());
    let Some(FromVod::Read { length, .. }) = child.next().await else { panic!("it asks first") };
    assert!(child.supply(files[0].slice(..length as usize - 1)).await.is_err());
    assert!(child.supply(files[0].slice(..length as usize)).await.is_ok());
    assert!(child.supply(files[0].slice(..length as usize)).await.is_err());
}

#[tokio::test]
async fn a_child_that_nobody_listens_to_waits() {
    let files = [mute_film("a.mp4", 8, X264)];
    let seen = probe(&files).await.remove(0);
    let job = job(&files, &seen.keys(), &cut(&seen.shown(), 60, 0), &[rung(320, 160, 60_000_000)]);
    // So good that pipes can't hold it.
    let mut job = Job::Encode(job);
    if let Job::Encode(job) = &mut job {
        job.rungs[0].crf = 1;
    }
    let mut child = Child::spawn(exe(), job, Limits::default()).await.unwrap();
    while !matches!(next(&mut child, &files).await, Some(FromVod::Unit { .. })) {}
    let cpu = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<u64> =
            stat.rsplit(") ").next().unwrap().split(' ').filter_map(|field| field.parse().ok()).collect();
        fields[10] + fields[11]
    };
    // It comes to rest.
    let mut before = cpu(child.pid());
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = cpu(child.pid());
        if now == before {
            break;
        }
        before = now;
    }
    let mut ended = 0;
    while let Some(message) = next(&mut child, &files).await {
        ended += usize::from(matches!(message, FromVod::SegmentEnd { .. }));
        assert_eq!(failure(&[message]), None);
    }
    assert_eq!(ended, 4);
}

#[tokio::test]
async fn a_child_cannot_take_more_memory_than_it_is_given() {
    let options =
        "-f lavfi -i testsrc2=size=3840x1920:rate=30:duration=1 -c:v libx264 -preset ultrafast -pix_fmt yuv420p";
    let files = [films::film("a.mp4", options)];
    let seen = probe(&files).await.remove(0);
    let job = Job::Encode(job(&files, &seen.keys(), &cut(&seen.shown(), 30, 0), &[rung(3840, 1920, 20_000_000)]));
    for memory in [40_000_000, 120_000_000] {
        let limits = Limits { memory_bytes: memory, ..Limits::default() };
        let said = drive_within(job.clone(), &files, limits).await;
        let expected = format!("the process took more than {} MB of memory", memory / 1_000_000);
        assert_eq!(failure(&said), Some(expected.as_str()));
    }
}

#[tokio::test]
async fn a_child_cannot_take_more_time_than_it_is_given() {
    let files = [mute_film("a.mp4", 60, "-c:v libx264 -preset ultrafast")];
    let seen = probe(&files).await.remove(0);
    let mut job = job(&files, &seen.keys(), &cut(&seen.shown(), 300, 0), &[rung(1920, 960, 20_000_000)]);
    job.rungs[0].effort = codec::vod::Effort::Slow;
    let limits = Limits { cpu_s: 2, ..Limits::default() };
    let said = drive_within(Job::Encode(job), &files, limits).await;
    assert_eq!(failure(&said), Some("the process took more than 2 s of processor time"));
}

#[tokio::test]
async fn a_binary_that_is_not_there_is_an_error() {
    let error = Child::spawn(Path::new("/no/such/live360"), probe_job(&[]), Limits::default()).await.unwrap_err();
    assert!(error.to_string().starts_with("starting the encoding process"), "{error}");
}

#[tokio::test]
async fn another_program_in_its_place_is_no_child() {
    for (program, expected) in [("/bin/true", "code 0"), ("/bin/false", "code 1"), ("/bin/echo", "talks nonsense")] {
        let mut child = Child::spawn(Path::new(program), probe_job(&[]), Limits::default()).await.unwrap();
        let Some(FromVod::Failed { why, machine: true }) = child.next().await else { panic!("{program} is no child") };
        assert!(why.contains(expected), "{program}: {why}");
        assert_eq!(child.next().await, None);
    }
}

/// Runs a child on these bytes; its exit code and stderr.
fn run_on(bytes: &[u8]) -> (Option<i32>, String) {
    let mut child =
        Command::new(exe()).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    // The child may end before it has read everything.
    drop(std::io::Write::write_all(&mut child.stdin.take().unwrap(), bytes));
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_parent_that_talks_nonsense_is_told_so() {
    let check = |bytes: &[u8], expected: &str| {
        let (code, log) = run_on(bytes);
        assert_eq!((code, log.trim()), (Some(1), expected), "{bytes:?}");
    };
    check(&[0xFF; 64], "between parent and child: malformed message: a message of more than 64 MiB");
    check(&[0, 0, 0, 1, 99], "between parent and child: malformed message: an unknown kind from the parent");
    check(&[0, 0, 0, 1, 2], "between parent and child: malformed message: a job must come first");
    check(&[0, 0, 0, 3, 1, b'{', b'}'], "between parent and child: malformed message: JSON that does not parse");
    check(&[], "reading from the parent: unexpected end of file");
}

/// An MP4 whose pictures' data are said to lie in another file: `url ` with the flag "in this file" taken away.
fn elsewhere(file: &[u8], path: &str) -> Bytes {
    let at = file.windows(8).position(|window| window == b"url \0\0\0\x01").expect("ffmpeg writes a data reference");
    // The box (12 bytes) grows by the path; so do those around it.
    let location = [path.as_bytes(), &[0]].concat();
    let mut grown = file.to_vec();
    grown[at + 7] = 0;
    grown.splice(at + 8..at + 8, location.iter().copied());
    let grow = |grown: &mut Vec<u8>, position: usize| {
        let size = u32::from_be_bytes(grown[position - 4..position].try_into().unwrap()) + location.len() as u32;
        grown[position - 4..position].copy_from_slice(&size.to_be_bytes());
    };
    grow(&mut grown, at);
    for name in [b"dref", b"dinf", b"minf", b"mdia", b"trak", b"moov"] {
        let position = grown[..at].windows(4).rposition(|window| window == name).unwrap();
        grow(&mut grown, position);
    }
    grown.into()
}

#[tokio::test]
async fn a_film_that_points_to_another_file_opens_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let bait = folder.path().join("bait");
    let film = mute_film("a.mp4", 1, X264);
    std::fs::write(&bait, &film).unwrap();
    for target in [bait.to_str().unwrap(), "/etc/passwd", "file:///etc/passwd"] {
        let files = [elsewhere(&film, target)];
        let seen = probe(&files).await.remove(0);
        assert_eq!(seen.tracks.unwrap().video.unwrap().width, 320);
        // Strings of system calls would show more; at least nothing of it is read: the data are taken from the film itself.
        let said = films::drive(probe_job(&files), &files).await;
        assert_eq!(said.last(), Some(&FromVod::Done));
    }
}

/// A film whose header says another size: in the sample entry and in the SPS's place nothing that libav could correct.
fn resized(width: u16, height: u16) -> Bytes {
    let mut film = films::film("a.mov", "-f lavfi -i testsrc2=size=320x160:rate=30:duration=1 -c:v qtrle").to_vec();
    let at = film.windows(4).rposition(|window| window == b"rle ").unwrap() + 28;
    assert_eq!(film[at..at + 4], [1, 64, 0, 160]);
    film[at..at + 2].copy_from_slice(&width.to_be_bytes());
    film[at + 2..at + 4].copy_from_slice(&height.to_be_bytes());
    film.into()
}

#[tokio::test]
async fn absurd_sizes_are_refused_in_words() {
    for (width, height) in [(1, 1), (8194, 2), (16_000, 16_000)] {
        let expected = format!("a picture of {width}x{height} is not supported: use 2x2 to 8192x8192");
        assert_eq!(refusal(resized(width, height)).await, expected);
    }
    // libav does not even say this one.
    assert_eq!(refusal(resized(30_000, 30_000)).await, "there is no picture in it");
    assert_eq!(probe(&[resized(320, 160)]).await[0].shown().len(), 30);
}

#[tokio::test]
async fn a_segment_late_in_a_file_is_not_read_for_from_its_beginning() {
    let noise = "-vf noise=alls=60:allf=t -c:v libx264 -preset ultrafast -qp 20 -g 30 -c:a aac";
    for name in ["a.mp4", "a.mkv"] {
        let files = [sound_film(name, 20, noise)];
        assert!(files[0].len() > 12 << 20, "{name}: {}", files[0].len());
        let seen = probe(&files).await.remove(0);
        let segments = cut(&seen.shown(), 60, 0);
        let job = job(&files, &seen.keys(), &segments[8..9], &[rung(80, 40, 100_000)]);
        let mut child = Child::spawn(exe(), Job::Encode(job), Limits::default()).await.unwrap();
        let (mut read, mut units) = (0, 0);
        while let Some(message) = next(&mut child, &files).await {
            match message {
                FromVod::Read { length, .. } => read += length as usize,
                FromVod::Unit { .. } => units += 1,
                _ => {}
            }
        }
        assert_eq!(units, 60);
        assert!(read < files[0].len() / 2, "{name}: {read} of {} bytes", files[0].len());
    }
}

#[tokio::test]
async fn a_sheet_has_a_tile_for_each_reel_even_for_those_without_a_picture() {
    let film = mute_film("a.mp4", 1, &format!("{X264} -movflags frag_keyframe+empty_moov"));
    let files = [film.clone(), Bytes::new(), Bytes::from_static(b"no film"), film];
    let sheet = SheetJob { reels: films::reels(&files), columns: 2, width: 160, height: 80 };
    let said = films::drive(Job::Sheet(sheet.clone()), &files).await;
    let [FromVod::Sheet(jpeg), FromVod::Done] = &said[..] else { panic!("{said:?}") };
    assert!(jpeg.starts_with(&[0xFF, 0xD8]) && jpeg.ends_with(&[0xFF, 0xD9]));
    assert_eq!(films::drive(Job::Sheet(sheet), &files).await, said);
}
