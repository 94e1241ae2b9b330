//! Origins that die while they record: on a machine that comes back, and on one that never does.

use super::*;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::task::JoinSet;

/// Kills, and how many servers die side by side: most of the time they wait for what is published in real time.
const KILLS: usize = 20;
const LANES: usize = 4;

const RENDITIONS: [&str; 3] = ["source", "160w", "audio"];

const SETS: [&str; 4] =
    ["ladder=[\"source\", \"160w 100k\"]", "hls.segment_ms=1000", "hls.part_ms=250", "origin.reconnect_s=1"];

/// The same numbers for the same seed (Marsaglia's xorshift).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

/// Both stores as folders.
#[derive(Debug, Clone)]
struct Stores {
    ingest: PathBuf,
    egress: PathBuf,
}

/// A segment's rendition and number.
type Piece = (String, u64);

impl Stores {
    fn below(dir: &Path) -> Self {
        Self { ingest: dir.join("ingest"), egress: dir.join("egress") }
    }

    fn sets(&self) -> [String; 2] {
        [
            format!("storage.ingest=\"file:{}\"", self.ingest.display()),
            format!("storage.egress=\"file:{}\"", self.egress.display()),
        ]
    }

    /// A copy of both.
    async fn copy(&self, to: &Path) -> Self {
        std::fs::create_dir_all(to).expect("a folder");
        for from in [&self.ingest, &self.egress] {
            tool("cp", &["-r", &from.display().to_string(), &to.display().to_string()]).await;
        }
        Self::below(to)
    }

    /// Waits until a stream's session is finished; what its `ended.json` says.
    async fn ended(&self, stream: &str) -> Value {
        let sessions = self.ingest.join("rec").join(stream);
        wait_for("ended.json", || async {
            let session = std::fs::read_dir(&sessions).ok()?.flatten().next()?.path();
            serde_json::from_slice(&std::fs::read(session.join("ended.json")).ok()?).ok()
        })
        .await
    }

    /// What the log in the store lists of a stream and the store has.
    fn logged(&self, stream: &str) -> BTreeSet<Piece> {
        let sessions = self.ingest.join("rec").join(stream);
        let sessions = std::fs::read_dir(sessions).into_iter().flatten().flatten();
        let logs = sessions.flat_map(|session| std::fs::read_dir(session.path().join("log")).into_iter().flatten());
        // What begins with a dot was still being written.
        let whole = logs.flatten().filter(|log| !log.file_name().to_string_lossy().starts_with('.'));
        let text: String = whole.map(|log| std::fs::read_to_string(log.path()).expect("text")).collect();
        let assets: Vec<PathBuf> =
            std::fs::read_dir(self.egress.join("vod")).into_iter().flatten().flatten().map(|e| e.path()).collect();
        let of_stream = |path: &&PathBuf| {
            path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(&format!("{stream}-")))
        };
        let Some(asset) = assets.iter().find(of_stream) else { return BTreeSet::new() };
        let there = |(rendition, msn): &Piece| asset.join(rendition).join(format!("{msn}.m4s")).is_file();
        segments(&text).into_iter().filter(there).collect()
    }
}

/// Segments that journal lines list.
fn segments(journal: &str) -> BTreeSet<Piece> {
    let lines = journal.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let segment = |line: Value| {
        let segment = line.get("segment").filter(|segment| segment.get("gap").is_none())?;
        Some((segment["rendition"].as_str()?.to_owned(), segment["msn"].as_u64()?))
    };
    lines.filter_map(segment).collect()
}

/// Numbers that every rendition has.
fn everywhere(pieces: &BTreeSet<Piece>) -> BTreeSet<u64> {
    let numbers = pieces.iter().map(|(_, msn)| *msn);
    numbers.filter(|msn| RENDITIONS.iter().all(|name| pieces.contains(&((*name).to_owned(), *msn)))).collect()
}

/// What a live playlist lists.
async fn live(viewer: &Viewer, stream: &str) -> BTreeSet<Piece> {
    let mut pieces = BTreeSet::new();
    for rendition in RENDITIONS {
        let playlist = viewer.playlist(stream, rendition).await;
        let whole = (0..playlist.media.segments.len()).filter(|index| !playlist.is_gap(*index));
        pieces.extend(whole.filter_map(|index| {
            let name = playlist.media.segments[index].uri.trim_end_matches(".m4s");
            Some((rendition.to_owned(), name.parse().ok()?))
        }));
    }
    pieces
}

/// What a recording has: every file that it lists is there, its renditions are equally long, and `live360 lint` has
/// nothing to say. Returns the pieces that can be played.
async fn recorded(stores: &Stores, asset: &str) -> BTreeSet<Piece> {
    let folder = stores.egress.join("vod").join(asset);
    let entry = std::fs::read(stores.egress.join(format!("assets/{asset}.json"))).expect("an entry");
    let entry: Value = serde_json::from_slice(&entry).expect("JSON");
    let duration_s = entry["duration_s"].as_f64().expect("a number");
    let mut pieces = BTreeSet::new();
    for rendition in RENDITIONS {
        let text = std::fs::read(folder.join(rendition).join("index.m3u8"));
        let text = text.unwrap_or_else(|error| panic!("{asset}/{rendition}: {error}"));
        let playlist = m3u8_rs::parse_media_playlist_res(&text).expect("a media playlist");
        let seconds: f64 = playlist.segments.iter().map(|segment| f64::from(segment.duration)).sum();
        assert!((seconds - duration_s).abs() < 0.1, "{asset}/{rendition}: {seconds} s of {duration_s} s");
        for segment in &playlist.segments {
            if segment.unknown_tags.iter().any(|tag| tag.tag == "X-GAP") {
                continue;
            }
            let map = segment.map.as_ref().map(|map| map.uri.as_str());
            for name in map.into_iter().chain([segment.uri.as_str()]) {
                let bytes = std::fs::metadata(folder.join(rendition).join(name)).map_or(0, |metadata| metadata.len());
                assert!(bytes > 0, "{asset}/{rendition} lists {name}, which is not there");
            }
            pieces.insert((rendition.to_owned(), segment.uri.trim_end_matches(".m4s").parse().expect("a number")));
        }
    }
    let sets = [stores.sets()[1].clone(), "edge.origins=[\"http://127.0.0.1:9\"]".to_owned()];
    let dir = Arc::new(TempDir::new().expect("a temporary folder"));
    let edge = Server::start("edge", &sets.each_ref().map(String::as_str), dir).await;
    let report = e2e::run(&["lint", &edge.viewer().url(&format!("/vod/{asset}/index.m3u8"))]).await;
    assert_eq!(report.status.code(), Some(0), "{asset}: {}", String::from_utf8_lossy(&report.stdout));
    pieces
}

/// Whether all of `wanted` is there but for so many of the newest numbers.
fn covers(has: &BTreeSet<u64>, wanted: &BTreeSet<u64>, but_newest: usize) -> bool {
    wanted.iter().rev().skip(but_newest).all(|msn| has.contains(msn))
}

fn assert_has(has: &BTreeSet<u64>, wanted: &BTreeSet<u64>, but_newest: usize, what: &str) {
    assert!(covers(has, wanted, but_newest), "{what}: {has:?} of {wanted:?}");
}

/// The journal of a stream's one session on its origin's disk.
fn journal(recording: &Path) -> String {
    let mut sessions = std::fs::read_dir(recording).into_iter().flatten().flatten();
    let journal = sessions.next().map(|session| session.path().join("journal.jsonl"));
    journal.and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default()
}

/// Kills an origin several times, on the same disk, each time in another stream.
async fn lane(lane: usize, media: PathBuf) {
    let mut dice = Dice(0x9E37_79B9 + lane as u64);
    let dir = Arc::new(TempDir::new().expect("a temporary folder"));
    let stores = Stores::below(&dir.path().join("data"));
    let mut server = Server::start("origin", &SETS, dir.clone()).await;
    for round in 0..KILLS / LANES {
        let stream = format!("k{round}");
        let encoder = Ffmpeg::publish_file(&media, &server.rtmp(&stream), &[]);
        let viewer = server.origin_viewer();
        viewer.wait_segments(&stream, "audio", 3).await;
        tokio::time::sleep(Duration::from_millis(dice.roll(1500))).await;
        let listed = everywhere(&live(&viewer, &stream).await);
        // What is listed is on its way to the disk, and from there to the store: at once, unless the machine is busy.
        let recording = dir.path().join("data/recording").join(&stream);
        wait_for("the recording to be close behind", || async {
            let journaled = covers(&everywhere(&segments(&journal(&recording))), &listed, 1);
            let logged = covers(&everywhere(&stores.logged(&stream)), &listed, 2);
            (journaled && logged).then_some(())
        })
        .await;
        server.crash().await;
        encoder.stop().await;
        let what = format!("lane {lane}, {stream}");
        let journal = journal(&recording);
        let away = Arc::new(TempDir::new().expect("a temporary folder"));
        let copy = stores.copy(&away.path().join("stores")).await;

        // The machine comes back.
        server = Server::start("origin", &SETS, dir.clone()).await;
        let ended = stores.ended(&stream).await;
        let has = everywhere(&recorded(&stores, ended["asset"].as_str().expect("an asset")).await);
        assert_has(&has, &everywhere(&segments(&journal)), 0, &format!("{what}: what is in the journal is there"));
        assert_has(&has, &listed, 1, &format!("{what}: but for the last one, what was listed is there"));

        // It never does, and its disk is gone.
        let wanted = everywhere(&copy.logged(&stream));
        let sets = copy.sets();
        let sets = [&SETS[..], &["record_lost_s=1", &sets[0], &sets[1]]].concat();
        let mut other = Server::start("origin", &sets, away.clone()).await;
        let ended = copy.ended(&stream).await;
        assert_eq!(ended["reason"], "lost", "{what}");
        let has = everywhere(&recorded(&copy, ended["asset"].as_str().expect("an asset")).await);
        assert_has(&has, &wanted, 0, &format!("{what}, without its disk: what the log lists is there"));
        assert_has(
            &has,
            &listed,
            2,
            &format!("{what}, without its disk: but for the last ones, what was listed is there"),
        );
        for part in ended["parts"].as_array().expect("parts") {
            let bytes =
                std::fs::metadata(copy.ingest.join(part["key"].as_str().expect("a key"))).map(|file| file.len());
            assert_eq!(bytes.ok(), part["bytes"].as_u64(), "{what}: {part}");
        }
        other.assert_well();
    }
    server.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_is_killed_at_any_moment_loses_at_most_the_segment_in_hand() {
    let dir = TempDir::new().expect("a temporary folder");
    let media = dir.path().join("source.mp4");
    make_media(&Source { size: "320x160", seconds: 60, keyint: 15, ..Source::default() }, &media).await;
    let mut lanes = JoinSet::new();
    (0..LANES).for_each(|number| drop(lanes.spawn(lane(number, media.clone()))));
    while let Some(done) = lanes.join_next().await {
        if let Err(failed) = done {
            std::panic::resume_unwind(failed.into_panic());
        }
    }
}
