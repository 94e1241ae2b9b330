//! One breach of each rule, planted in a stream that breaks none.

use crate::lint::fixture::*;
use crate::lint::observe::{Asked, Fetch, Observed};
use crate::lint::parse::parse_iso_date;
use bytes::Bytes;
use http::HeaderValue;
use media::hls::date;
use media::projection::{Layout, Projection};

/// A breach: the rule it breaks, what else cannot but break with it, and how it is planted in which stream.
pub(super) struct Plant {
    pub(super) rule: &'static str,
    pub(super) also: &'static [&'static str],
    pub(super) base: fn() -> Observed,
    pub(super) mutate: fn(&mut Observed),
}

const fn plant(rule: &'static str, base: fn() -> Observed, mutate: fn(&mut Observed)) -> Plant {
    Plant { rule, also: &[], base, mutate }
}

/// All of them.
pub(super) fn all() -> Vec<Plant> {
    let groups: [fn() -> Vec<Plant>; 9] =
        [playlists, keys, moments, renditions_and_media, multivariants, delivery, low_latency, parts, probes];
    groups.iter().flat_map(|group| group()).collect()
}

/// The segment that is newest at the first moment, and one that nobody opened.
const LAST: u64 = FIRST + WINDOW - 1;
const INNER: u64 = FIRST + 100;

/// Replaces a text in every answer of a playlist where it stands.
fn every(observed: &mut Observed, playlist: usize, from: &str, to: &str) {
    let mut found = false;
    for fetch in &mut observed.playlists[playlist].snapshots {
        if body(fetch).contains(from) {
            edit(fetch, |text| text.replacen(from, to, 1));
            found = true;
        }
    }
    assert!(found, "{from:?} stands nowhere");
}

/// The same in all playlists.
fn everywhere(observed: &mut Observed, from: &str, to: &str) {
    for playlist in 0..observed.playlists.len() {
        every(observed, playlist, from, to);
    }
}

/// Changes the text of a playlist at one moment.
fn at(observed: &mut Observed, playlist: usize, moment: usize, from: &str, to: &str) {
    edit(&mut observed.playlists[playlist].snapshots[moment], |text| text.replacen(from, to, 1));
}

/// Changes the text at the newest moment.
fn latest(observed: &mut Observed, playlist: usize, change: impl Fn(String) -> String) {
    edit(observed.playlists[playlist].snapshots.last_mut().unwrap(), change);
}

/// Changes every answer of a playlist.
fn change(observed: &mut Observed, playlist: usize, change: impl Fn(String) -> String) {
    for fetch in &mut observed.playlists[playlist].snapshots {
        edit(fetch, &change);
    }
}

fn master(observed: &mut Observed, from: &str, to: &str) {
    edit(observed.multivariant.as_mut().unwrap(), |text| text.replacen(from, to, 1));
}

fn body(fetch: &Fetch) -> String {
    String::from_utf8(fetch.outcome.as_ref().unwrap().body.to_vec()).unwrap()
}

fn without_lines(text: &str, tag: &str) -> String {
    text.lines().filter(|line| !line.starts_with(tag)).map(|line| format!("{line}\n")).collect()
}

/// Moves every date.
fn shift_dates(text: &str, by_ms: i64) -> String {
    let tag = "#EXT-X-PROGRAM-DATE-TIME:";
    let moved = text.lines().map(|line| match line.strip_prefix(tag).and_then(parse_iso_date) {
        Some(seconds) => format!("{tag}{}\n", date((seconds * 1000.0).round() as i64 + by_ms)),
        None => format!("{line}\n"),
    });
    moved.collect()
}

/// Keeps the newest segments of the encrypted playlist.
fn keep(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let (head, entries) = lines.split_at(6);
    let dropped = (entries.len() / 3) - count;
    let mut out = String::new();
    for line in head {
        match line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:") {
            Some(number) => out += &format!("#EXT-X-MEDIA-SEQUENCE:{}\n", number.parse::<usize>().unwrap() + dropped),
            None => out += &format!("{line}\n"),
        }
    }
    out + &entries[dropped * 3..].join("\n") + "\n"
}

fn set_body(fetch: &mut Fetch, body: Bytes) {
    let answer = fetch.outcome.as_mut().unwrap();
    assert_ne!(answer.body, body, "the mutation changes nothing");
    answer.body = body;
}

fn set_status(fetch: &mut Fetch, status: u16) {
    fetch.outcome.as_mut().unwrap().status = status;
}

fn probe_status(observed: &mut Observed, asked: fn(&Asked) -> bool, status: u16) {
    let fetch = probe(observed, asked);
    set_status(fetch, status);
    set_header(fetch, "cache-control", "max-age=1");
}

/// Moves the media times of all segments fetched of a rendition.
fn shift_media(observed: &mut Observed, folder: usize, ticks: u64) {
    for msn in [FIRST, LAST - 4, LAST - 3, LAST - 2, LAST - 1, LAST] {
        set_body(file(observed, &segment_url(folder, msn)), segment_at(folder, msn, ticks, true));
    }
}

pub(super) fn playlists() -> Vec<Plant> {
    vec![
        plant("V1.present", live, |o| every(o, HIGH, "#EXT-X-TARGETDURATION:2\n", "")),
        plant("V1.longest", live, |o| {
            every(o, HIGH, &format!("2.000000,\n{INNER}.m4s"), &format!("2.600000,\n{INNER}.m4s"));
        }),
        plant("V9.sequence", encrypted, |o| {
            every(o, 0, "#EXTINF:2.000,\n50.ts", "#EXT-X-DISCONTINUITY\n#EXTINF:2.000,\n50.ts")
        }),
        Plant { also: &["V11.quarter-hour"], ..plant("V11.six", encrypted, |o| change(o, 0, |text| keep(&text, 5))) },
        plant("V11.quarter-hour", encrypted, |o| change(o, 0, |text| keep(&text, 100))),
        plant("V12.grammar", encrypted, |o| every(o, 0, "#EXTINF:2.000,\n50.ts", "#EXTINF:2.000\n50.ts")),
        plant("V12.enough", live, |o| every(o, HIGH, "VERSION:6", "VERSION:5")),
        plant("V12.lean", live, |o| every(o, HIGH, "VERSION:6", "VERSION:7")),
        plant("V13.spelling", vod, |o| everywhere(o, "TYPE:VOD", "TYPE: VOD")),
        plant("V13.hint", vod, |o| {
            every(o, HIGH, "#EXT-X-ENDLIST", "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"x\"\n#EXT-X-ENDLIST")
        }),
        plant("V14.map", vod, |o| {
            change(o, HIGH, |text| without_lines(&text, "#EXT-X-MAP").replace("VERSION:6", "VERSION:3"))
        }),
        plant("V18.key", encrypted, |o| every(o, 0, "URI=\"skd://1\",", "")),
        plant("V18.fairplay", encrypted, |o| every(o, 0, "SAMPLE-AES", "AES-128")),
        plant("V4.dates", encrypted, |o| change(o, 0, |text| without_lines(&text, "#EXT-X-PROGRAM-DATE-TIME"))),
        plant("V4.forward", encrypted, |o| {
            let (from, to) = (date(INNER as i64 * 2000), date(INNER as i64 * 2000 - 1500));
            every(o, 0, &from, &to);
        }),
        plant("V4.consistent", live, |o| shift_media(o, AUDIO, 9600)),
        plant("V4.after-break", live, |o| {
            let at = format!(
                "#EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI=\"init-1.mp4\"\n#EXT-X-PROGRAM-DATE-TIME:{}\n",
                date((FIRST as i64 + 400) * 2000)
            );
            every(o, HIGH, &at, "#EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI=\"init-1.mp4\"\n");
        }),
        plant("V4.airtime", live, |o| {
            let fetch = o.playlists[HIGH].snapshots.last_mut().unwrap();
            set_header(fetch, "date", "Fri, 20 Nov 2026 23:00:00 GMT");
            set_header(fetch, "last-modified", "Fri, 20 Nov 2026 23:00:00 GMT");
        }),
    ]
}

pub(super) fn keys() -> Vec<Plant> {
    const CLEAR: &str = "#EXT-X-KEY:METHOD=NONE\n";
    vec![
        plant("V18.fetched", sealed, |o| {
            let Ok(answer) = &mut o.keys[0].outcome else { return };
            answer.body = Bytes::from_static(b"0123456789abcdef\n");
        }),
        // Another key of the right length.
        plant("V18.decrypts", sealed, |o| set_body(&mut o.keys[0], Bytes::from_static(b"0123456789abcdef"))),
        // Where the key holds for init segments too they can't be decrypted: then V14.init sees what they are not.
        plant("V18.map-iv", sealed, |o| change(o, HIGH, |text| text.replace(CLEAR, ""))),
    ]
}

pub(super) fn moments() -> Vec<Plant> {
    vec![
        plant("V1.constant", live, |o| at(o, HIGH, 0, "TARGETDURATION:2", "TARGETDURATION:3")),
        plant("V9.steps", live, |o| at(o, HIGH, 5, "DISCONTINUITY-SEQUENCE:4", "DISCONTINUITY-SEQUENCE:3")),
        plant("V10.number", encrypted, |o| at(o, 0, 1, "MEDIA-SEQUENCE:8", "MEDIA-SEQUENCE:7")),
        plant("V10.append", encrypted, |o| at(o, 0, 1, "2.000,\n50.ts", "1.999,\n50.ts")),
        plant("V10.fresh", encrypted, |o| {
            let first = o.playlists[0].snapshots[0].clone();
            let second = &mut o.playlists[0].snapshots[1];
            second.outcome = first.outcome;
            second.sent_s = first.done_s + 5.0;
            second.done_s = first.done_s + 5.1;
        }),
        plant("V10.immutable", live, |o| {
            set_body(probe(o, |asked| *asked == Asked::Again), Bytes::from_static(b"other"))
        }),
        Plant {
            also: &["V11.six", "V11.quarter-hour"],
            ..plant("V11.three", encrypted, |o| change(o, 0, |text| keep(&text, 2)))
        },
        plant("V11.kept", live, |o| probe_status(o, |asked| *asked == Asked::DroppedSegment, 404)),
        plant("V13.type", encrypted, |o| {
            every(o, 0, "#EXT-X-MEDIA-SEQUENCE", "#EXT-X-PLAYLIST-TYPE:EVENT\n#EXT-X-MEDIA-SEQUENCE")
        }),
        plant("V18.kept", encrypted, |o| {
            edit(&mut o.playlists[0].snapshots[1], |text| without_lines(&text, "#EXT-X-KEY"))
        }),
    ]
}

pub(super) fn renditions_and_media() -> Vec<Plant> {
    vec![
        plant("V1.same", vod, |o| every(o, AUDIO, "TARGETDURATION:2", "TARGETDURATION:3")),
        plant("V3.aligned", live, |o| change(o, LOW, |text| shift_dates(&text, 5))),
        plant("V3.audio", live, |o| change(o, AUDIO, |text| shift_dates(&text, 60))),
        plant("V3.numbers", live, |o| {
            change(o, LOW, |text| {
                let number =
                    text.lines().find_map(|line| line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:")).unwrap().to_owned();
                text.replacen(&number, &(number.parse::<u64>().unwrap() + 1).to_string(), 1)
            });
        }),
        plant("V9.same", live, |o| {
            change(o, LOW, |text| text.replace("DISCONTINUITY-SEQUENCE:", "DISCONTINUITY-SEQUENCE:1"))
        }),
        plant("V13.same", vod, |o| every(o, AUDIO, "TYPE:VOD", "TYPE:EVENT")),
        plant("V7.duration", vod, |o| {
            let end = format!("#EXT-X-PROGRAM-DATE-TIME:{}", date((LAST as i64 - 2) * 2000));
            let short = end.get(..end.len() - 4).unwrap().to_owned();
            change(o, AUDIO, |text| format!("{}#EXT-X-ENDLIST\n", text.split_once(&short).unwrap().0));
        }),
        plant("V2.sum", vod, |o| every(o, HIGH, &format!("2.000000,\n{LAST}.m4s"), &format!("2.200000,\n{LAST}.m4s"))),
        plant("V3.idr", live, |o| set_body(file(o, &segment_url(HIGH, LAST)), segment_at(HIGH, LAST, 0, false))),
        plant("V3.continuity", live, |o| {
            set_body(file(o, &segment_url(AUDIO, LAST)), segment_at(AUDIO, LAST, 480, true))
        }),
        plant("V3.timestamps", live, |o| shift_media(o, LOW, 900)),
        plant("V6.codecs-true", live, |o| master(o, "avc1.640028,mp4a", "avc1.4d0028,mp4a")),
        plant("V6.resolution-true", live, |o| master(o, "1920x960,FRAME", "1920x1080,FRAME")),
        plant("V6.peak", live, |o| {
            master(o, "BANDWIDTH=60000,AVERAGE-BANDWIDTH=55000", "BANDWIDTH=10000,AVERAGE-BANDWIDTH=5000")
        }),
        plant("V9.marked", live, |o| {
            let old = format!("2.000000,\n{}.m4s\n", FIRST + 410);
            let next = format!("2.000000,\n{}.m4s\n", FIRST + 411);
            every(o, HIGH, &old, &format!("{old}#EXT-X-MAP:URI=\"init-0.mp4\"\n"));
            every(o, HIGH, &next, &format!("{next}#EXT-X-MAP:URI=\"init-1.mp4\"\n"));
        }),
        plant("V14.init", live, |o| {
            set_body(file(o, &init_url(HIGH, true)), Bytes::from_static(b"nothing of the sort"))
        }),
        plant("V16.found", live, |o| set_status(file(o, &segment_url(LOW, LAST)), 404)),
        plant("V19.vexu", live, |o| {
            let flat = Layout { projection: Projection::Flat, ..Layout::default() };
            set_body(file(o, &init_url(HIGH, true)), init(HIGH, true, flat));
        }),
        plant("V19.layout", live, |o| master(o, ",REQ-VIDEO-LAYOUT=\"CH-MONO/PROJ-EQUI\"", "")),
    ]
}

pub(super) fn multivariants() -> Vec<Plant> {
    vec![
        Plant {
            also: &["V5.multivariant"],
            ..plant("V5.independent", live, |o| {
                master(o, "#EXT-X-INDEPENDENT-SEGMENTS\n", "");
                every(o, HIGH, "#EXT-X-INDEPENDENT-SEGMENTS\n", "");
            })
        },
        plant("V5.multivariant", live, |o| master(o, "#EXT-X-INDEPENDENT-SEGMENTS\n", "")),
        plant("V6.bandwidth", live, |o| master(o, ":BANDWIDTH=60000,", ":")),
        plant("V6.average", live, |o| master(o, ",AVERAGE-BANDWIDTH=55000", "")),
        plant("V6.codecs", live, |o| master(o, ",CODECS=\"avc1.640028,mp4a.40.2\"", "")),
        plant("V6.resolution", live, |o| master(o, "RESOLUTION=1920x960,FRAME", "FRAME")),
        plant("V6.frame-rate", live, |o| master(o, "FRAME-RATE=10.000,", "")),
        plant("V7.rates", live, |o| {
            edit(o.multivariant.as_mut().unwrap(), |text| {
                let lines =
                    text.lines().filter(|line| !line.contains("BANDWIDTH=40000") && *line != "foo/low/index.m3u8");
                lines.map(|line| format!("{line}\n")).collect()
            });
        }),
        plant("V7.media", live, |o| master(o, ",NAME=\"Main\"", "")),
        plant("V7.language", live, |o| master(o, ",LANGUAGE=\"und\"", "")),
        plant("V7.split", live, |o| master(o, ",URI=\"foo/audio/index.m3u8\"", "")),
        plant("V8.exists", live, |o| {
            edit(o.multivariant.as_mut().unwrap(), |text| without_lines(&text, "#EXT-X-I-FRAME-STREAM-INF"));
        }),
        plant("V8.attributes", live, |o| master(o, ",URI=\"foo/high/iframes.m3u8\"", "")),
        plant("V8.codecs", live, |o| master(o, "BANDWIDTH=55000,CODECS=\"avc1.640028\",RES", "BANDWIDTH=55000,RES")),
        plant("V8.resolution", live, |o| master(o, "RESOLUTION=1920x960,URI", "URI")),
        plant("V8.only", live, |o| {
            change(o, IFRAMES, |text| without_lines(&text, "#EXT-X-I-FRAMES-ONLY").replace("VERSION:5", "VERSION:6"));
        }),
        plant("V8.picture", live, |o| {
            let rest = segment(HIGH, LAST).slice(first_chunk(HIGH, LAST) as usize..);
            set_body(file(o, &iframe_url(HIGH, LAST)), rest);
        }),
        plant("V8.dense", live, |o| change(o, IFRAMES, |text| text.replace("EXTINF:1.0", "EXTINF:2.0"))),
        plant("V8.several", live, |o| {
            master(o, "BANDWIDTH=35000,CODECS=\"avc1.64001f\",RES", "BANDWIDTH=55000,CODECS=\"avc1.64001f\",RES")
        }),
        plant("V17.failover", live, |o| {
            edit(o.multivariant.as_mut().unwrap(), |text| without_lines(&text, "#EXT-X-CONTENT-STEERING"));
        }),
        plant("V17.pathway", live, |o| master(o, ",PATHWAY-ID=\"a\"", "")),
        plant("V19.syntax", live, |o| master(o, "CH-MONO/PROJ-EQUI", "CH-STEREO,PROJ-EQUI")),
    ]
}

pub(super) fn delivery() -> Vec<Plant> {
    vec![
        plant("V15.gzip", live, |o| {
            o.playlists[HIGH].snapshots[0].outcome.as_mut().unwrap().headers.remove("content-encoding");
        }),
        Plant {
            also: &["V15.mime"],
            ..plant("V15.identifiable", live, |o| {
                let fetch = &mut o.playlists[HIGH].snapshots[0];
                set_header(fetch, "content-type", "text/plain");
                fetch.url = address("high/index");
            })
        },
        plant("V15.mime", live, |o| {
            set_header(&mut o.playlists[HIGH].snapshots[0], "content-type", "application/x-mpegurl")
        }),
        plant("V15.tls", live, |o| {
            o.playlists[LOW].snapshots[0].outcome.as_mut().unwrap().tls = Some("TLSv1.1".to_owned());
        }),
        plant("V16.listed", live, |o| o.playlists[LOW].snapshots.iter_mut().for_each(|fetch| set_status(fetch, 404))),
        plant("V16.redirect", live, |o| {
            let fetch = file(o, &segment_url(HIGH, LAST));
            set_status(fetch, 302);
            set_header(fetch, "location", "https://other.example/");
        }),
        plant("V16.stale", live, |o| {
            set_header(
                o.playlists[HIGH].snapshots.last_mut().unwrap(),
                "last-modified",
                "Fri, 20 Nov 2026 17:24:00 GMT",
            );
        }),
        plant("L6.http2", live, |o| {
            o.playlists[HIGH].snapshots[0].outcome.as_mut().unwrap().version = http::Version::HTTP_11;
        }),
        plant("L7.playlist", live, |o| set_header(&mut o.playlists[HIGH].snapshots[0], "cache-control", "max-age=60")),
        plant("L7.errors", live, |o| {
            let fetch = probe(o, |asked| *asked == Asked::PartWithoutMsn);
            fetch.outcome.as_mut().unwrap().headers.insert("cache-control", HeaderValue::from_static("max-age=60"));
        }),
    ]
}

pub(super) fn low_latency() -> Vec<Plant> {
    vec![
        plant("L1.hold-back", live, |o| everywhere(o, ",HOLD-BACK=6.0", ",HOLD-BACK=5.0")),
        plant("L1.part-hold-back", live, |o| everywhere(o, "PART-HOLD-BACK=3.03", "PART-HOLD-BACK=2.5")),
        plant("L1.skip-until", live, |o| everywhere(o, "CAN-SKIP-UNTIL=12.0", "CAN-SKIP-UNTIL=11.0")),
        plant("L1.delta", live, |o| everywhere(o, "CAN-SKIP-UNTIL=12.0,", "")),
        plant("L1.block", live, |o| everywhere(o, "CAN-BLOCK-RELOAD=YES,", "")),
        plant("L1.same", live, |o| every(o, LOW, ",HOLD-BACK=6.0", ",HOLD-BACK=7.0")),
        plant("L5.hint", live, |o| change(o, HIGH, |text| without_lines(&text, "#EXT-X-PRELOAD-HINT"))),
        plant("L5.one", live, |o| latest(o, HIGH, |text| text + "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"x.m4s\"\n")),
        plant("L5.match", live, |o| {
            let hint = format!("TYPE=PART,URI=\"{}.1.m4s\"", FIRST + WINDOW + 1);
            at(o, HIGH, 2, &hint, "TYPE=PART,URI=\"other.m4s\"");
        }),
        plant("L6.reports", live, |o| {
            change(o, HIGH, |text| without_lines(&text, "#EXT-X-RENDITION-REPORT:URI=\"../low"))
        }),
        plant("L6.relative", live, |o| every(o, HIGH, "URI=\"../low", "URI=\"https://origin.example/hls/foo/low")),
        plant("L6.values", live, |o| latest(o, HIGH, |text| text.replacen("LAST-MSN=8", "LAST-MSN=7", 1))),
    ]
}

pub(super) fn parts() -> Vec<Plant> {
    vec![
        plant("L2.inf", live, |o| every(o, HIGH, "#EXT-X-PART-INF:PART-TARGET=1.01\n", "")),
        plant("L2.longest", live, |o| every(o, HIGH, "PART-TARGET=1.01", "PART-TARGET=0.99")),
        plant("L2.shortest", live, |o| {
            let msn = FIRST + WINDOW;
            let part = format!("#EXT-X-PART:DURATION=1.000000,URI=\"{msn}.1.m4s\"\n");
            let two =
                format!("#EXT-X-PART:DURATION=0.3,URI=\"{msn}.1.m4s\"\n#EXT-X-PART:DURATION=0.7,URI=\"{msn}.2.m4s\"\n");
            every(o, HIGH, &part, &two);
        }),
        plant("L2.constant", live, |o| at(o, HIGH, 2, "PART-TARGET=1.01", "PART-TARGET=1.02")),
        plant("L2.sum", live, |o| {
            let uri = format!("URI=\"{}.1.m4s\"", FIRST + WINDOW + 1);
            every(o, HIGH, &format!("DURATION=1.000000,{uri}"), &format!("DURATION=0.900000,{uri}"));
        }),
        plant("L2.recommended", live, |o| {
            everywhere(o, "PART-HOLD-BACK=3.03", "PART-HOLD-BACK=3.45");
            every(o, HIGH, "PART-TARGET=1.01", "PART-TARGET=1.15");
        }),
        plant("L2.independent", live, |o| {
            let uri = format!("URI=\"{}.0.m4s\"", FIRST + WINDOW + 1);
            every(o, HIGH, &format!("{uri},INDEPENDENT=YES"), &uri);
        }),
        plant("L3.before", live, |o| {
            let msn = FIRST + WINDOW + 1;
            let day = format!("#EXT-X-PROGRAM-DATE-TIME:{}\n", date(msn as i64 * 2000));
            let part = format!("#EXT-X-PART:DURATION=1.000000,URI=\"{msn}.0.m4s\",INDEPENDENT=YES\n");
            every(o, HIGH, &format!("{day}{part}"), &format!("{part}{day}"));
        }),
        plant("L3.cadence", live, |o| {
            for (index, fetch) in o.playlists[HIGH].snapshots.iter_mut().enumerate() {
                fetch.done_s = 10.0 + 1.6 * index as f64;
                fetch.sent_s = fetch.done_s - 0.02;
            }
        }),
        plant("L3.trim", live, |o| {
            let msn = LAST;
            let old = format!("#EXTINF:2.000000,\n{msn}.m4s");
            let parts = format!(
                "#EXT-X-PART:DURATION=1.0,URI=\"{msn}.0.m4s\",INDEPENDENT=YES\n#EXT-X-PART:DURATION=1.0,URI=\"{msn}.1.m4s\"\n"
            );
            latest(o, HIGH, |text| text.replacen(&old, &format!("{parts}{old}"), 1));
        }),
        plant("L3.order", live, |o| at(o, HIGH, 3, &format!("URI=\"{}.0.m4s\"", FIRST + WINDOW), "URI=\"other.m4s\"")),
        plant("L3.kept", live, |o| probe_status(o, |asked| *asked == Asked::DroppedPart, 404)),
    ]
}

pub(super) fn probes() -> Vec<Plant> {
    vec![
        plant("L4.no-msn", live, |o| probe_status(o, |asked| *asked == Asked::PartWithoutMsn, 200)),
        plant("L4.too-far", live, |o| probe_status(o, |asked| *asked == Asked::MsnTooFar, 200)),
        plant("L4.part-too-far", live, |o| probe_status(o, |asked| *asked == Asked::PartTooFar, 200)),
        plant("L4.old", live, |o| probe_status(o, |asked| *asked == Asked::OldMsn, 400)),
        plant("L4.beyond", live, |o| probe_status(o, |asked| matches!(asked, Asked::PartBeyondEnd { .. }), 400)),
        plant("L4.blocks", live, |o| {
            let early = o.playlists[HIGH].snapshots[0].outcome.clone();
            probe(o, |asked| matches!(asked, Asked::Next { .. })).outcome = early;
        }),
        plant("L4.late", live, |o| probe(o, |asked| matches!(asked, Asked::Next { .. })).done_s += 20.0),
        plant("L4.iframes", live, |o| probe_status(o, |asked| matches!(asked, Asked::IFramesNext { .. }), 404)),
        plant("L4.delta", live, |o| {
            let whole = o.playlists[HIGH].snapshots[0].outcome.clone();
            probe(o, |asked| *asked == Asked::Delta).outcome = whole;
        }),
        plant("L5.held", live, |o| probe_status(o, |asked| *asked == Asked::Hinted, 404)),
        plant("L5.trickle", live, |o| probe(o, |asked| *asked == Asked::Hinted).done_s += 1.0),
        plant("L5.unknown", live, |o| probe_status(o, |asked| *asked == Asked::Unknown, 200)),
        plant("V13.ended", vod, |o| probe_status(o, |asked| *asked == Asked::AfterEnd, 400)),
    ]
}
