//! What the ladder costs: CPU seconds per second of stream, peak bit rate per segment, delay.
//!
//! `cargo run --release -p codec --example ladder_bench -- FILE.mp4 SEGMENT_MS WIDTHxHEIGHT:BITRATE…`

use bytes::Bytes;
use codec::ladder::{Engine, FromLadder, RungSettings, Settings, ToLadder};
use media::h264::VideoConfig;
use media::unit::VideoUnit;
use std::collections::BTreeMap;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let usage = "FILE.mp4 SEGMENT_MS WIDTHxHEIGHT:BITRATE…";
    let (config, units) = demux(&args.next().ok_or(usage)?)?;
    let segment_ms: u32 = args.next().ok_or(usage)?.parse()?;
    let rungs: Vec<RungSettings> = args.map(|text| rung(&text).ok_or(usage)).collect::<Result<_, _>>()?;
    let settings = Settings { config, rungs: rungs.clone(), segment_ms };
    println!("delay: {} units", delay(&settings, &units)?);
    let mut engine = Engine::new(settings)?;
    let (before, started) = (cpu(), std::time::Instant::now());
    let (mut seq, mut next_cut) = (0, i64::MIN);
    let mut bits = BTreeMap::<(usize, u64), (u64, i64)>::new();
    let mut take = |message: FromLadder| match message {
        FromLadder::Unit { rung, seq, unit } => {
            let entry = bits.entry((rung, seq)).or_default();
            *entry = (entry.0 + unit.data.len() as u64 * 8, entry.1 + 1);
        }
        FromLadder::Failed { why } => eprintln!("failed: {why}"),
        FromLadder::Config { .. } | FromLadder::SegmentEnd { .. } | FromLadder::Worked { .. } => {}
    };
    let span =
        units.iter().map(|unit| unit.pts).max().unwrap_or(0) - units.iter().map(|unit| unit.pts).min().unwrap_or(0);
    let frame = span / (units.len() as i64 - 1).max(1);
    for unit in units {
        // Files have few key frames: cut between them, as a forced cut does.
        if unit.pts >= next_cut {
            next_cut = unit.pts + i64::from(segment_ms) * 90;
            engine.push(ToLadder::Segment { seq, start_pts: unit.pts, skip: 0 }, &mut take)?;
            seq += 1;
        }
        engine.push(ToLadder::Unit(unit), &mut take)?;
    }
    engine.push(ToLadder::End, &mut take)?;
    let seconds = (span + frame) as f64 / 90_000.0;
    println!("{seconds:.2} s of stream, {:.2} s of time", started.elapsed().as_secs_f64());
    println!("{:.3} CPU s per stream second", (cpu() - before) / seconds);
    for (index, rung) in rungs.iter().enumerate() {
        let segments = bits.range((index, 0)..(index + 1, 0));
        let rates: Vec<u64> =
            segments.map(|(_, &(bits, count))| bits * 90_000 / (count * frame) as u64 / 1000).collect();
        println!("{}x{} cap {} kbit/s: segments {rates:?} kbit/s", rung.width, rung.height, rung.bitrate / 1000);
    }
    println!("peak memory {} MB, {} damaged", peak_memory_mb(), engine.damaged());
    Ok(())
}

/// How many units are inside the ladder, at most, once it has done what it can: all but the newest make the delay.
fn delay(settings: &Settings, units: &[VideoUnit]) -> Result<i64, Box<dyn std::error::Error>> {
    let mut engine = Engine::new(settings.clone())?;
    let (mut out, mut most) = (0, 0);
    let start_pts = units.first().map_or(0, |unit| unit.pts);
    engine.push(ToLadder::Segment { seq: 0, start_pts, skip: 0 }, &mut |_| ())?;
    for (sent, unit) in (1i64..).zip(units.iter().take(60)) {
        engine.push(ToLadder::Unit(unit.clone()), &mut |message| out += i64::from(of_rung_0(&message)))?;
        std::thread::sleep(std::time::Duration::from_millis(60));
        // The same configuration again changes nothing, and gives what is ready.
        engine.push(ToLadder::Config(settings.config.clone()), &mut |message| out += i64::from(of_rung_0(&message)))?;
        most = most.max(if sent > 10 { sent - out } else { 0 });
    }
    Ok(most)
}

fn of_rung_0(message: &FromLadder) -> bool {
    matches!(message, FromLadder::Unit { rung: 0, .. })
}

fn rung(text: &str) -> Option<RungSettings> {
    let (size, bitrate) = text.split_once(':')?;
    let (width, height) = size.split_once('x')?;
    Some(RungSettings { width: width.parse().ok()?, height: height.parse().ok()?, bitrate: bitrate.parse().ok()? })
}

fn demux(file: &str) -> Result<(VideoConfig, Vec<VideoUnit>), Box<dyn std::error::Error>> {
    let mut input = ffmpeg_next::format::input(file)?;
    let stream = input.streams().best(ffmpeg_next::media::Type::Video).ok_or("no video")?;
    let (index, base) = (stream.index(), stream.time_base());
    let context = ffmpeg_next::codec::Context::from_parameters(stream.parameters())?;
    // SAFETY: libav keeps that many bytes there as long as the context lives.
    #[allow(unsafe_code)]
    let avcc = unsafe {
        let raw = context.as_ptr();
        Bytes::copy_from_slice(std::slice::from_raw_parts((*raw).extradata, (*raw).extradata_size as usize))
    };
    let config = VideoConfig::from_avcc(avcc)?;
    let ticks = |time: i64| time * 90_000 * i64::from(base.0) / i64::from(base.1);
    let mut units = Vec::new();
    for (stream, packet) in input.packets().filter(|(stream, _)| stream.index() == index) {
        let _ = stream;
        let data = Bytes::copy_from_slice(packet.data().unwrap_or_default());
        let (dts, pts) = (ticks(packet.dts().unwrap_or(0)), ticks(packet.pts().unwrap_or(0)));
        units.push(VideoUnit { dts, pts, idr: packet.is_key(), data });
    }
    Ok((config, units))
}

/// CPU seconds of this process so far, all threads.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |index: usize| fields.get(index).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

fn peak_memory_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0) / 1024
}
