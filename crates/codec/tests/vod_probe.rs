//! What the VOD child finds in files of the `ffmpeg` command.
#![allow(clippy::unwrap_used, clippy::panic)]

mod films;

use bytes::Bytes;
use films::{film, mute_film, probe, refusal, sound_film};

const X264: &str = "-c:v libx264 -preset veryfast -g 30 -bf 2 -sc_threshold 0";

#[tokio::test]
async fn tracks_and_times_are_those_of_the_file_in_every_container() {
    for name in ["a.flv", "a.mp4", "a.mkv"] {
        let seen = probe(&[sound_film(name, 2, X264)]).await.remove(0);
        let tracks = seen.tracks.as_ref().unwrap();
        let (video, audio) = (tracks.video.as_ref().unwrap(), tracks.audio.as_ref().unwrap());
        assert_eq!((video.codec.as_str(), video.width, video.height), ("h264", 320, 160), "{name}");
        assert_eq!(video.frame_rate, Some((30, 1)), "{name}");
        assert_eq!((audio.codec.as_str(), audio.sample_rate, audio.channels), ("aac", 48_000, 1), "{name}");
        assert!(audio.asc.as_ref().is_some_and(|asc| asc.starts_with("1188")), "{name}: {audio:?}");
        let shown = seen.shown();
        assert_eq!(shown.len(), 60, "{name}");
        for (number, pts) in (0..).zip(&shown) {
            let exact = shown[0] + number * 3000;
            assert!((pts - exact).abs() <= 90, "{name}: picture {number} at {pts}");
        }
        assert_eq!(seen.keys(), [shown[0], shown[30]], "{name}");
        assert!((93..=97).contains(&seen.audio.len()), "{name}: {} packets of sound", seen.audio.len());
        assert!(seen.audio.windows(2).all(|pair| (pair[1].pts - pair[0].pts - 1024).abs() <= 48), "{name}");
    }
}

#[tokio::test]
async fn an_index_at_the_end_of_a_file_is_found() {
    let file = sound_film("a.mp4", 2, X264);
    let moov = file.windows(4).rposition(|window| window == b"moov").unwrap();
    assert!(moov > file.len() / 2, "ffmpeg writes it last");
    assert_eq!(probe(&[file]).await[0].shown().len(), 60);
    let fast = sound_film("a.mp4", 2, &format!("{X264} -movflags +faststart"));
    assert_eq!(probe(&[fast]).await[0].shown().len(), 60);
    let pieces = sound_film("a.mp4", 2, &format!("{X264} -movflags frag_keyframe+empty_moov"));
    assert_eq!(probe(&[pieces]).await[0].shown().len(), 60);
}

#[tokio::test]
async fn a_reel_that_was_cut_off_is_worth_what_is_there() {
    for name in ["a.flv", "a.mkv"] {
        let file = sound_film(name, 4, X264);
        let half = file.slice(..file.len() / 2);
        let seen = probe(&[half]).await.remove(0);
        assert!((30..110).contains(&seen.video.len()), "{name}: {}", seen.video.len());
    }
    let file = sound_film("a.mp4", 4, X264);
    let why = refusal(file.slice(..file.len() / 2)).await;
    assert_eq!(why, "the file is damaged: its header can't be read");
}

#[tokio::test]
async fn a_bad_reel_of_several_is_told_by_its_having_no_tracks() {
    let good = mute_film("a.flv", 1, X264);
    let seen = probe(&[good.clone(), Bytes::from_static(b"FLV?"), Bytes::new(), good]).await;
    let tracks: Vec<bool> = seen.iter().map(|seen| seen.tracks.as_ref().unwrap().video.is_some()).collect();
    assert_eq!(tracks, [true, false, false, true]);
}

#[tokio::test]
async fn what_is_no_film_is_refused_in_words() {
    let nothing = "this is no FLV, MP4, MOV, Matroska or WebM file: nothing else is taken";
    let noise: Vec<u8> = (0..100_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    assert_eq!(refusal(noise.into()).await, nothing);
    assert_eq!(refusal(Bytes::new()).await, "the file is empty");
    assert_eq!(refusal(Bytes::from_static(b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n")).await, nothing);
    assert_eq!(refusal(Bytes::from_static(b"ffconcat version 1.0\nfile /etc/passwd\n")).await, nothing);
    assert_eq!(refusal(film("a.mp3", "-f lavfi -i sine=duration=1 -f mp3")).await, nothing);
    let silent = film("a.m4a", "-f lavfi -i sine=duration=1");
    assert_eq!(refusal(silent).await, "there is no picture in it");
}

#[tokio::test]
async fn garbage_behind_a_good_beginning_fails_in_words_or_gives_what_it_has() {
    for name in ["a.flv", "a.mp4", "a.mkv"] {
        let file = sound_film(name, 1, &format!("{X264} -movflags +faststart"));
        for seed in 1..8_u32 {
            let mut damaged = file.to_vec();
            let mut state = seed;
            for _ in 0..200 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let at = 16 + state as usize % (damaged.len() - 16);
                damaged[at] = (state >> 24) as u8;
            }
            let files = [Bytes::from(damaged)];
            let said = films::drive(codec::vod::Job::Probe { reels: films::reels(&files) }, &files).await;
            assert!(matches!(said.last(), Some(codec::vod::FromVod::Done | codec::vod::FromVod::Failed { .. })));
            if let Some(why) = films::failure(&said) {
                assert!(!why.contains("signal"), "{name} {seed}: {why}");
            }
        }
    }
}

#[tokio::test]
async fn of_a_film_with_an_index_little_more_than_that_is_read() {
    let noise = "-vf noise=alls=60:allf=t -c:v libx264 -preset ultrafast -qp 20 -g 10 -bf 2 -c:a aac";
    let file = sound_film("a.mp4", 20, noise);
    assert!(file.len() > 12 << 20, "{}", file.len());
    let files = [file.clone()];
    let job = codec::vod::Job::Probe { reels: films::reels(&files) };
    let limits = codec::vod::child::Limits::default();
    let mut child = codec::vod::child::Child::spawn(films::exe(), job, limits).await.unwrap();
    let mut read = 0;
    while let Some(message) = films::next(&mut child, &files).await {
        if let codec::vod::FromVod::Read { length, .. } = message {
            read += length as usize;
        }
    }
    // 32 key frames are looked into, which lie in the first half.
    assert!(read < file.len() * 3 / 4, "{read} of {} bytes", file.len());
    // What it says is what whoever reads all says.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.mp4");
    std::fs::write(&path, &file).unwrap();
    let pieces = film("b.mp4", &format!("-i {} -c copy -movflags frag_keyframe+empty_moov", path.display()));
    let (one, other) = (probe(&files).await.remove(0), probe(&[pieces]).await.remove(0));
    assert_eq!(one.shown().len(), 600);
    assert_eq!(one.keys().len(), 60);
    let from_first = |times: Vec<i64>| times.iter().map(|time| time - times[0]).collect::<Vec<_>>();
    assert_eq!(from_first(one.shown()), from_first(other.shown()));
    assert_eq!(from_first(one.keys()), from_first(other.keys()));
}
