//! Streams that break no rule, as observations: what the tests plant breaches in.
//!
//! Three of them, since no stream is everything at once: a live low-latency one of two rungs, audio and I-frames behind
//! TLS; the same as VOD; and an encrypted live one that was given by its media playlist.

use super::observe::{Answer, Asked, Fetch, Observed, Probe, Role, Watched};
use super::parse::ByteRange;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use media::aac::AudioConfig;
use media::h264::VideoConfig;
use media::hls::date;
use media::mp4::{Sample, Track, chunk, init_audio, init_video};
use media::projection::Layout;
use media::protect::{Keyring, Scope};
use media::route::{File, Route};
use std::fmt::Write;
use std::sync::OnceLock;
use url::Url;

/// Number of the first segment; two seconds each since 1970.
pub(super) const FIRST: u64 = 897_597_750;
/// When it was on air, in milliseconds since 1970: 2026-11-20T17:25:00Z.
pub(super) const FIRST_MS: u64 = FIRST * 2000;
/// Segments in the window: just over a quarter of an hour.
pub(super) const WINDOW: u64 = 456;
/// Segments before which the timeline breaks: one that soon leaves the window, one that stays.
const BREAKS: [u64; 2] = [FIRST + 1, FIRST + 400];
/// Discontinuities before the window.
const BREAKS_BEFORE: u64 = 3;
/// Moments at which each playlist was seen, a part apart.
const MOMENTS: u64 = 7;
const FPS: u64 = 10;
const BASE: &str = "https://origin.example/hls/foo";

/// A rendition's folder.
pub(super) const HIGH: usize = 0;
pub(super) const LOW: usize = 1;
pub(super) const AUDIO: usize = 2;
pub(super) const IFRAMES: usize = 3;
pub(super) const FOLDERS: [&str; 3] = ["high", "low", "audio"];

/// A way to look at the same content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Live,
    Vod,
}

/// The live stream.
pub(super) fn live() -> Observed {
    static ONCE: OnceLock<Observed> = OnceLock::new();
    ONCE.get_or_init(|| Observed { probes: probes(), ..stream(Kind::Live) }).clone()
}

/// The same, ended and whole.
pub(super) fn vod() -> Observed {
    static ONCE: OnceLock<Observed> = OnceLock::new();
    ONCE.get_or_init(make_vod).clone()
}

/// An encrypted stream of MPEG-TS, known by its media playlist.
pub(super) fn encrypted() -> Observed {
    static ONCE: OnceLock<Observed> = OnceLock::new();
    ONCE.get_or_init(make_encrypted).clone()
}

/// The whole one with a video rendition that is encrypted as a whole, init segments excepted.
pub(super) fn sealed() -> Observed {
    static ONCE: OnceLock<Observed> = OnceLock::new();
    ONCE.get_or_init(make_sealed).clone()
}

fn make_sealed() -> Observed {
    let lock = Keyring::new(["a secret"]).lock(Scope::Stream("foo"), u32::MAX).unwrap();
    let key = lock.key_file(FIRST);
    let mut observed = vod();
    let texts = observed.playlists[HIGH].snapshots.iter_mut().chain(observed.probes.iter_mut().map(|p| &mut p.fetch));
    for fetch in texts {
        edit(fetch, |text| {
            let around = |line: &str| match line.starts_with("#EXT-X-MAP") {
                true => format!("#EXT-X-KEY:METHOD=NONE\n{line}\n#EXT-X-KEY:METHOD=AES-128,URI=\"{}\"\n", key.uri()),
                false => format!("{line}\n"),
            };
            text.lines().map(around).collect()
        });
    }
    let folder = address(FOLDERS[HIGH]).to_string();
    for fetch in observed.files.iter_mut().filter(|fetch| fetch.range.is_none()) {
        let name = fetch.url.as_str().strip_prefix(&folder).and_then(|rest| rest.strip_prefix('/'));
        if let Some(File::Segment(msn)) = name.and_then(File::parse)
            && let Ok(answer) = &mut fetch.outcome
        {
            answer.body = lock.seal(msn, &answer.body);
        }
    }
    let url = playlist_url(HIGH).join(&key.uri()).unwrap();
    let route = Route::Key("foo".parse().unwrap(), key);
    let bytes = Keyring::new(["a secret"]).key(&route).unwrap();
    observed.keys = vec![fetch(&url, None, 9.5, answer("application/octet-stream", Bytes::copy_from_slice(&bytes)))];
    observed
}

fn make_vod() -> Observed {
    let mut observed = stream(Kind::Vod);
    let url = with_query(&observed.playlists[HIGH].url, "_HLS_msn=897598999&_HLS_part=0");
    let body = media_playlist(Kind::Vod, HIGH, 0);
    observed.probes = vec![Probe { asked: Asked::AfterEnd, playlist: HIGH, fetch: playlist(&url, 20.0, &body, 0) }];
    observed
}

fn make_encrypted() -> Observed {
    let url = address("keyed/index.m3u8");
    let snapshots = (0..MOMENTS).step_by(2).map(|moment| {
        let body = encrypted_playlist(moment / 2);
        playlist(&url, 10.0 + moment as f64, &body, moment)
    });
    let files = vec![fetch(&address("keyed/5.ts"), None, 9.0, answer("video/mp2t", Bytes::from_static(b"\x12\x34")))];
    let watched = Watched { url: url.clone(), role: Role::Alone, snapshots: snapshots.collect() };
    let (keys, probes) = (Vec::new(), Vec::new());
    Observed { start: url, multivariant: None, playlists: vec![watched], files, keys, probes }
}

fn stream(kind: Kind) -> Observed {
    let start = Url::parse(&format!("{BASE}.m3u8")).unwrap();
    let moments: Vec<u64> = if kind == Kind::Live { (0..MOMENTS).collect() } else { vec![0, 1] };
    let roles = [Role::Video, Role::Video, Role::Audio, Role::IFrames, Role::IFrames];
    let watched = roles.into_iter().enumerate().map(|(index, role)| {
        let url = playlist_url(index);
        // The first rendition is watched closely, of the others a few moments are enough.
        let moments = moments.iter().filter(|moment| index == HIGH || *moment % 3 == 0 || kind == Kind::Vod);
        let snapshots = moments.map(|moment| {
            let body = media_playlist(kind, index, *moment);
            playlist(&url, 10.0 + *moment as f64, &body, *moment)
        });
        Watched { url: url.clone(), role, snapshots: snapshots.collect() }
    });
    let multivariant = playlist(&start, 9.0, &multivariant(), 0);
    Observed {
        start: start.clone(),
        multivariant: Some(multivariant),
        playlists: watched.collect(),
        files: files(),
        keys: Vec::new(),
        probes: Vec::new(),
    }
}

pub(super) fn address(path: &str) -> Url {
    Url::parse(&format!("{BASE}/{path}")).unwrap()
}

fn playlist_url(index: usize) -> Url {
    match FOLDERS.get(index) {
        Some(folder) => address(&format!("{folder}/index.m3u8")),
        None => address(&format!("{}/iframes.m3u8", FOLDERS[index - IFRAMES])),
    }
}

fn with_query(url: &Url, query: &str) -> Url {
    let mut url = url.clone();
    url.set_query(Some(query));
    url
}

/// A successful answer over HTTP/2 and TLS.
pub(super) fn answer(content_type: &str, body: Bytes) -> Answer {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_str(content_type).unwrap());
    headers.insert("cache-control", HeaderValue::from_static("max-age=3600"));
    Answer { status: 200, version: http::Version::HTTP_2, tls: Some("TLSv1.3".to_owned()), headers, body }
}

pub(super) fn set_header(fetch: &mut Fetch, name: &'static str, value: &str) {
    let headers = &mut fetch.outcome.as_mut().unwrap().headers;
    headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
}

fn fetch(url: &Url, range: Option<ByteRange>, done_s: f64, answer: Answer) -> Fetch {
    let (sent_s, first_byte_s) = (done_s - 0.02, done_s - 0.005);
    Fetch { url: url.clone(), range, sent_s, first_byte_s, done_s, outcome: Ok(answer) }
}

/// A playlist's answer at a moment.
fn playlist(url: &Url, done_s: f64, body: &str, moment: u64) -> Fetch {
    let mut fetch = fetch(url, None, done_s, answer("application/vnd.apple.mpegurl", Bytes::from(body.to_owned())));
    let now = std::time::UNIX_EPOCH + std::time::Duration::from_millis(FIRST_MS + parts_at(moment) * 1000);
    set_header(&mut fetch, "date", &httpdate::fmt_http_date(now));
    set_header(&mut fetch, "last-modified", &httpdate::fmt_http_date(now));
    set_header(&mut fetch, "content-encoding", "gzip");
    set_header(&mut fetch, "cache-control", "max-age=1");
    fetch
}

fn refused(asked: Asked, query: &str, status: u16) -> Probe {
    let mut answer = answer("text/plain", Bytes::new());
    answer.status = status;
    answer.headers.insert("cache-control", HeaderValue::from_static("max-age=1"));
    Probe { asked, playlist: HIGH, fetch: fetch(&with_query(&playlist_url(HIGH), query), None, 11.0, answer) }
}

fn probes() -> Vec<Probe> {
    let good = |asked, query: &str, moment| {
        let body = media_playlist(Kind::Live, HIGH, moment);
        let url = with_query(&playlist_url(HIGH), query);
        Probe { asked, playlist: HIGH, fetch: playlist(&url, 10.0 + moment as f64, &body, moment) }
    };
    let file = |asked, url: Url, body: Bytes| Probe {
        asked,
        playlist: HIGH,
        fetch: fetch(&url, None, 14.0, answer("video/iso.segment", body)),
    };
    let closed = FIRST + WINDOW - 1;
    let iframes = Probe {
        asked: Asked::IFramesNext { msn: (closed + 1) * 2 },
        playlist: IFRAMES,
        fetch: playlist(&playlist_url(IFRAMES), 12.0, &media_playlist(Kind::Live, IFRAMES, 1), 1),
    };
    let delta = Probe {
        asked: Asked::Delta,
        playlist: HIGH,
        fetch: playlist(&with_query(&playlist_url(HIGH), "_HLS_skip=YES"), 11.0, &delta(HIGH, 0), 0),
    };
    let last = segment_url(HIGH, FIRST + 1);
    let mut unknown = refused(Asked::Unknown, "", 404);
    unknown.fetch.url = address("high/0-not-there.m4s");
    vec![
        refused(Asked::PartWithoutMsn, "_HLS_part=0", 400),
        refused(Asked::MsnTooFar, "_HLS_msn=999999999", 400),
        refused(Asked::PartTooFar, "_HLS_msn=897598207&_HLS_part=99", 400),
        good(Asked::OldMsn, "_HLS_msn=1", 0),
        good(Asked::PartBeyondEnd { msn: closed }, "_HLS_msn=897598205&_HLS_part=2", 0),
        good(Asked::Next { msn: closed + 1, part: Some(1) }, "_HLS_msn=897598206&_HLS_part=1", 1),
        delta,
        iframes,
        file(Asked::Hinted, address(&format!("high/{}.1.m4s", closed + 1)), segment(HIGH, closed + 1)),
        unknown,
        file(Asked::Again, segment_url(HIGH, FIRST), segment(HIGH, FIRST)),
        file(Asked::DroppedSegment, last, segment(HIGH, FIRST + 1)),
        file(Asked::DroppedPart, address(&format!("high/{}.1.m4s", closed - 2)), segment(HIGH, closed - 2)),
    ]
}

/// Init segments, and samples of segments and I-frames.
fn files() -> Vec<Fetch> {
    let mut files = Vec::new();
    let last = FIRST + WINDOW - 1;
    for folder in [HIGH, LOW, AUDIO] {
        let kind = if folder == AUDIO { "audio/mp4" } else { "video/mp4" };
        for new in [false, true] {
            files.push(fetch(&init_url(folder, new), None, 9.1, answer(kind, init(folder, new, Layout::default()))));
        }
        for msn in [FIRST, last - 4, last - 3, last - 2, last - 1, last] {
            files.push(fetch(&segment_url(folder, msn), None, 9.2, answer("video/iso.segment", segment(folder, msn))));
        }
    }
    for folder in [HIGH, LOW] {
        let whole = segment(folder, last);
        let range = ByteRange { offset: 0, length: first_chunk(folder, last) };
        let mut answer = answer("video/iso.segment", whole.slice(0..range.length as usize));
        answer.status = 206;
        files.push(fetch(&iframe_url(folder, last), Some(range), 9.3, answer));
    }
    files
}

pub(super) fn init_url(folder: usize, new: bool) -> Url {
    address(&format!("{}/init-{}.mp4", FOLDERS[folder], u8::from(new)))
}

pub(super) fn segment_url(folder: usize, msn: u64) -> Url {
    address(&format!("{}/{msn}.m4s", FOLDERS[folder]))
}

/// I-frames have files of their own: two of them a segment, though it is but one segment's bytes here.
pub(super) fn iframe_url(folder: usize, msn: u64) -> Url {
    address(&format!("{}/{msn}.i.m4s", FOLDERS[folder]))
}

fn is_new(msn: u64) -> bool {
    msn >= BREAKS[1]
}

/// An init segment: before the last break, the source was a small one.
pub(super) fn init(folder: usize, new: bool, layout: Layout) -> Bytes {
    let pps = [0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0];
    let large =
        b"\x67\x64\x00\x28\xac\xd9\x40\x78\x07\x9b\x01\x10\x00\x00\x03\x00\x10\x00\x00\x03\x01\x40\xf1\x83\x19\x60";
    let small = b"\x67\x64\x00\x1f\xac\xd9\x40\xf0\x3d\xb0\x11\x00\x00\x03\x00\x10\x00\x00\x03\x00\x14\x0f\x18\x31\x96";
    match (folder, new) {
        (AUDIO, _) => init_audio(&AudioConfig::lc(48_000, 2).unwrap()),
        (HIGH, true) => init_video(&VideoConfig::from_parameter_sets(large, &pps).unwrap(), layout),
        _ => init_video(&VideoConfig::from_parameter_sets(small, &pps).unwrap(), layout),
    }
}

/// What media time the timeline of a segment begins with, in milliseconds: it jumps at breaks.
fn media_ms(msn: u64) -> u64 {
    let jump: u64 = if is_new(msn) { 5_000_000 } else { 1_000_000 };
    (msn - FIRST) * 2000 + jump
}

/// An access unit of one NAL unit.
fn unit(kind: u8, bytes: usize) -> Bytes {
    let mut data = vec![0u8; bytes + 5];
    data[..4].copy_from_slice(&(bytes as u32 + 1).to_be_bytes());
    data[4] = kind;
    data.into()
}

pub(super) fn segment(folder: usize, msn: u64) -> Bytes {
    segment_at(folder, msn, 0, true)
}

/// A segment whose decoding times are moved by `off` ticks, and which may begin with something else than an IDR.
pub(super) fn segment_at(folder: usize, msn: u64, off: u64, idr: bool) -> Bytes {
    if folder == AUDIO {
        let start = audio_start(msn);
        let count = audio_start(msn + 1) - start;
        let frame =
            || Sample { duration: 1024, composition_offset: 0, sync: true, data: Bytes::from_static(&[0x21; 40]) };
        let samples: Vec<Sample> = (0..count).map(|_| frame()).collect();
        let base = media_ms(msn) * 48 - (msn - FIRST) * 96_000 + start * 1024;
        return chunk(Track::Audio, 1, base + off, &samples);
    }
    let size = if folder == HIGH { 400 } else { 100 };
    let ticks = 90_000 / FPS;
    let start = media_ms(msn) * 90 + off;
    let sample = |index: u64| {
        let first = index == 0 && idr;
        let data = unit(if first { 0x65 } else { 0x41 }, size);
        Sample { duration: ticks as u32, composition_offset: 0, sync: index == 0, data }
    };
    let rest: Vec<Sample> = (1..FPS * 2).map(sample).collect();
    let mut bytes = chunk(Track::Video, 1, start, &[sample(0)]).to_vec();
    bytes.extend_from_slice(&chunk(Track::Video, 2, start + ticks, &rest));
    bytes.into()
}

pub(super) fn first_chunk(folder: usize, msn: u64) -> u64 {
    let info = media::mp4::read::fragment_info(&segment(folder, msn)).unwrap();
    (info.tracks[0].moof_bytes + info.tracks[0].mdat_bytes) as u64
}

/// The first audio frame at or after a video cut, counted in frames from the first segment on.
fn audio_start(msn: u64) -> u64 {
    ((msn - FIRST) * 96_000).div_ceil(1024)
}

/// Parts published by a moment.
pub(super) fn parts_at(moment: u64) -> u64 {
    WINDOW * 2 + 1 + moment
}

pub(super) fn multivariant() -> String {
    let mut text = String::from(
        "#EXTM3U\n#EXT-X-VERSION:12\n#EXT-X-INDEPENDENT-SEGMENTS\n\
         #EXT-X-CONTENT-STEERING:SERVER-URI=\"/steer\",PATHWAY-ID=\"a\"\n\
         #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"Main\",LANGUAGE=\"und\",DEFAULT=YES,URI=\"foo/audio/index.m3u8\"\n",
    );
    for (folder, size, codec, peak) in
        [("high", "1920x960", "avc1.640028", 60_000), ("low", "960x480", "avc1.64001f", 40_000)]
    {
        let average = peak - 5000;
        writeln!(
            text,
            "#EXT-X-STREAM-INF:BANDWIDTH={peak},AVERAGE-BANDWIDTH={average},CODECS=\"{codec},mp4a.40.2\",RESOLUTION={size},\
             FRAME-RATE=10.000,AUDIO=\"audio\",REQ-VIDEO-LAYOUT=\"CH-MONO/PROJ-EQUI\"\nfoo/{folder}/index.m3u8"
        )
        .unwrap();
        writeln!(
            text,
            "#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH={average},CODECS=\"{codec}\",RESOLUTION={size},URI=\"foo/{folder}/iframes.m3u8\""
        )
        .unwrap();
    }
    text
}

fn control() -> &'static str {
    "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=12.0,HOLD-BACK=6.0,PART-HOLD-BACK=3.03\n"
}

/// A playlist of the stream at a moment.
pub(super) fn media_playlist(kind: Kind, index: usize, moment: u64) -> String {
    let moment = if kind == Kind::Vod { 0 } else { moment };
    let iframes = index >= IFRAMES;
    let folder = if iframes { index - IFRAMES } else { index };
    let closed = parts_at(moment) / 2;
    let first = FIRST + closed - WINDOW;
    let gone = BREAKS_BEFORE + BREAKS.iter().filter(|at| **at < first).count() as u64;
    let version = if iframes { 5 } else { 6 };
    let mut text = format!("#EXTM3U\n#EXT-X-VERSION:{version}\n#EXT-X-TARGETDURATION:2\n");
    text.push_str("#EXT-X-INDEPENDENT-SEGMENTS\n");
    match kind {
        Kind::Live => text.push_str(control()),
        Kind::Vod => text.push_str("#EXT-X-PLAYLIST-TYPE:VOD\n"),
    }
    match (iframes, kind) {
        (true, _) => text.push_str("#EXT-X-I-FRAMES-ONLY\n"),
        (false, Kind::Live) => text.push_str("#EXT-X-PART-INF:PART-TARGET=1.01\n"),
        (false, Kind::Vod) => {}
    }
    // An I-frame playlist counts its own entries, two a segment.
    let number = if iframes { first * 2 } else { first };
    writeln!(text, "#EXT-X-MEDIA-SEQUENCE:{number}\n#EXT-X-DISCONTINUITY-SEQUENCE:{gone}").unwrap();
    let mut map = None;
    let picture = if iframes { first_chunk(folder, FIRST) } else { 0 };
    for msn in first..FIRST + closed {
        head(&mut text, folder, msn, &mut map);
        if iframes {
            iframe_entries(&mut text, msn, picture);
        } else {
            if kind == Kind::Live && msn + 3 >= FIRST + closed {
                parts(&mut text, folder, msn, 2);
            }
            writeln!(text, "#EXTINF:{},\n{msn}.m4s", seconds(folder, msn)).unwrap();
        }
    }
    match kind {
        Kind::Vod => text.push_str("#EXT-X-ENDLIST\n"),
        Kind::Live if !iframes => tail(&mut text, folder, moment, &mut map),
        Kind::Live => {}
    }
    text
}

/// What stands before a segment's parts.
fn head(text: &mut String, folder: usize, msn: u64, map: &mut Option<bool>) {
    if BREAKS.contains(&msn) {
        text.push_str("#EXT-X-DISCONTINUITY\n");
    }
    if map.replace(is_new(msn)) != Some(is_new(msn)) {
        writeln!(text, "#EXT-X-MAP:URI=\"init-{}.mp4\"", u8::from(is_new(msn))).unwrap();
    }
    writeln!(text, "#EXT-X-PROGRAM-DATE-TIME:{}", date((msn * 2000 + late_ms(folder, msn)) as i64)).unwrap();
}

/// How long after the video's cut a segment begins, in milliseconds.
fn late_ms(folder: usize, msn: u64) -> u64 {
    if folder == AUDIO { audio_start(msn) * 1024 / 48 - (msn - FIRST) * 2000 } else { 0 }
}

fn seconds(folder: usize, msn: u64) -> String {
    match folder {
        AUDIO => format!("{:.6}", (audio_start(msn + 1) - audio_start(msn)) as f64 * 1024.0 / 48_000.0),
        _ => "2.000000".to_owned(),
    }
}

fn iframe_entries(text: &mut String, msn: u64, length: u64) {
    for _ in 0..2 {
        writeln!(text, "#EXTINF:1.000000,\n#EXT-X-BYTERANGE:{length}@0\n{msn}.i.m4s").unwrap();
    }
}

fn parts(text: &mut String, folder: usize, msn: u64, count: u64) {
    for part in 0..count {
        let frames = audio_start(msn + 1) - audio_start(msn);
        let lasts = match (folder, part) {
            (AUDIO, 0) => 47.0 * 1024.0 / 48_000.0,
            (AUDIO, _) => (frames - 47) as f64 * 1024.0 / 48_000.0,
            _ => 1.0,
        };
        let independent = if folder == AUDIO || part == 0 { ",INDEPENDENT=YES" } else { "" };
        writeln!(text, "#EXT-X-PART:DURATION={lasts:.6},URI=\"{msn}.{part}.m4s\"{independent}").unwrap();
    }
}

/// The segment in the making, the hint, and the reports.
fn tail(text: &mut String, folder: usize, moment: u64, map: &mut Option<bool>) {
    let (closed, open_parts) = (parts_at(moment) / 2, parts_at(moment) % 2);
    let open = FIRST + closed;
    if open_parts > 0 {
        head(text, folder, open, map);
        parts(text, folder, open, open_parts);
    }
    writeln!(text, "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"{open}.{open_parts}.m4s\"").unwrap();
    let (msn, part) = if open_parts > 0 { (open, open_parts - 1) } else { (open - 1, 1) };
    for (_, other) in FOLDERS.iter().enumerate().filter(|(index, _)| *index != folder) {
        writeln!(text, "#EXT-X-RENDITION-REPORT:URI=\"../{other}/index.m3u8\",LAST-MSN={msn},LAST-PART={part}")
            .unwrap();
    }
}

/// A delta update: what lies behind the skip boundary, with a segment of grace, is skipped.
pub(super) fn delta(folder: usize, moment: u64) -> String {
    let full = media_playlist(Kind::Live, folder, moment).replace("VERSION:6", "VERSION:9");
    let skipped = WINDOW - 7;
    let first = FIRST + parts_at(moment) / 2 - WINDOW + skipped;
    let (header, _) = full.split_once("#EXT-X-MAP").unwrap();
    let header = header.replace("#EXT-X-DISCONTINUITY\n", "");
    let marker = format!("#EXT-X-PROGRAM-DATE-TIME:{}\n", date((first * 2000 + late_ms(folder, first)) as i64));
    let (_, rest) = full.split_once(&marker).unwrap();
    format!("{header}#EXT-X-SKIP:SKIPPED-SEGMENTS={skipped}\n{marker}{rest}")
}

fn encrypted_playlist(moved: u64) -> String {
    let first = FIRST + moved;
    let mut text = format!(
        "#EXTM3U\n#EXT-X-VERSION:5\n#EXT-X-TARGETDURATION:2\n#EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-MEDIA-SEQUENCE:{first}\n"
    );
    text.push_str("#EXT-X-KEY:METHOD=SAMPLE-AES,URI=\"skd://1\",KEYFORMAT=\"com.apple.streamingkeydelivery\"\n");
    for msn in first..first + WINDOW {
        let at = date((msn * 2000) as i64);
        writeln!(text, "#EXT-X-PROGRAM-DATE-TIME:{at}\n#EXTINF:2.000,\n{}.ts", msn - FIRST).unwrap();
    }
    text
}

/// Changes the text of a playlist, at one moment or at all.
pub(super) fn edit(fetch: &mut Fetch, change: impl Fn(String) -> String) {
    let answer = fetch.outcome.as_mut().unwrap();
    let before = String::from_utf8(answer.body.to_vec()).unwrap();
    let after = change(before.clone());
    assert_ne!(before, after, "the mutation changes nothing in {}", fetch.url);
    answer.body = Bytes::from(after);
}

/// The first answer for a file.
pub(super) fn file<'o>(observed: &'o mut Observed, url: &Url) -> &'o mut Fetch {
    observed.files.iter_mut().find(|fetch| fetch.url == *url).unwrap()
}

/// The first probe of a sort.
pub(super) fn probe(observed: &mut Observed, is: impl Fn(&Asked) -> bool) -> &mut Fetch {
    &mut observed.probes.iter_mut().find(|probe| is(&probe.asked)).unwrap().fetch
}
