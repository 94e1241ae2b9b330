//! Processor time and quality beside one FFmpeg command with a split graph, the same rungs and settings.

use crate::call;
use crate::job::{self, Job, Rung};
use crate::media::{self, words};
use crate::report::{Goal, Table, median};
use std::path::{Path, PathBuf};

/// How long the content is.
const SECONDS: u32 = 18;
const WIDTH: u32 = 1920;

/// What the encoder's buffer is told of a rung's cap, so that no segment of 6 s exceeds it: its rate and its size per bit/s.
/// As `codec`'s cap has it.
const MAX_RATE: f64 = 0.97 * 0.8;
const BUFFER_S: f64 = 0.97 * 0.2 * 6.0 / 0.9;

/// Measures both in turn.
pub(crate) async fn measure(dir: &Path, effort: &str, rounds: usize, table: &mut Table) {
    let source = media::source(dir, WIDTH, SECONDS).await;
    let set = format!("vod.effort={effort}");
    let sets = [job::LADDER, &set, "transcoder.rescan_s=1"];
    let theirs = dir.join("ffmpeg");
    let (mut ratios, mut own, mut other, mut last) = (Vec::new(), Vec::new(), Vec::new(), None);
    for round in 1..=rounds {
        let job = job::run(&source, &sets, &[None]).await;
        let command = command(&source, &job.rungs(), effort, &theirs);
        let cpu_s = call::ffmpeg_cpu_s(&command).await;
        eprintln!("round {round}: live360 {:.2} s of CPU, FFmpeg {cpu_s:.2} s", job.cpu_s);
        ratios.push(job.cpu_s / cpu_s);
        own.push(job.cpu_s);
        other.push(cpu_s);
        last = Some(job);
    }
    let Some(job) = last else { return };
    let per_s = |all: Vec<f64>| median(all) / f64::from(SECONDS);
    let rungs = job.rungs();
    let what = format!("{} rungs of {WIDTH} wide, {effort}", rungs.len());
    table.state(
        "cpu_own",
        format!("{what}: CPU s per content s, live360 (worker and children, upload to asset)"),
        per_s(own),
    );
    table.state("cpu_ffmpeg", "the same, one FFmpeg command with a split graph", per_s(other));
    table.judge("cpu_ratio", format!("ratio (median of {rounds} rounds in turn)"), median(ratios), Goal::Most(1.0));
    for (number, rung) in rungs.iter().enumerate() {
        let own = joined(dir, &job, rung);
        let other = theirs.join(format!("{number}/index.m3u8"));
        let (own_ssim, other_ssim) = tokio::join!(ssim(&own, &source), ssim(&other, &source));
        let (own_rate, other_rate) = (rate(&job.folder(&rung.rendition)), rate(&theirs.join(number.to_string())));
        let name = &rung.rendition;
        table.state(&format!("rate_{name}"), format!("{name}: mean bit rate, kbit/s, live360"), own_rate);
        table.state(&format!("rate_{name}_ffmpeg"), format!("{name}: mean bit rate, kbit/s, FFmpeg"), other_rate);
        table.state(
            &format!("ssim_{name}_ffmpeg"),
            format!("{name}: SSIM after scaling up to the source, FFmpeg"),
            other_ssim,
        );
        // Four digits are what FFmpeg's own run to run noise allows to compare.
        let words = format!("{name}: the same, live360");
        table.judge(&format!("ssim_{name}"), words, own_ssim, Goal::Least((other_ssim * 1e4).floor() / 1e4));
    }
}

/// The other's command.
fn command(source: &Path, rungs: &[Rung], preset: &str, out: &Path) -> Vec<String> {
    let mut args = words("-v error -nostdin -y -i");
    args.push(source.display().to_string());
    let ends: String = (0..rungs.len()).map(|n| format!("[s{n}]")).collect();
    let mut graph = format!("[0:v]split={}{ends}", rungs.len());
    for (number, rung) in rungs.iter().enumerate() {
        // FFmpeg's own default scaler, as its users have it: bicubic.
        graph.push_str(&format!(";[s{number}]scale={}:{}[v{number}]", rung.width, rung.height));
    }
    args.extend(["-filter_complex".to_owned(), graph]);
    for number in 0..rungs.len() {
        args.extend(["-map".to_owned(), format!("[v{number}]")]);
    }
    args.extend(words(
        "-map 0:a -c:a copy -c:v libx264 -profile:v high -g 180 -keyint_min 180 -sc_threshold 0 -preset",
    ));
    args.push(preset.to_owned());
    for (number, rung) in rungs.iter().enumerate() {
        let bits = f64::from(rung.bitrate);
        let (most, buffer) = ((bits * MAX_RATE) as u64, (bits * BUFFER_S) as u64);
        args.extend(words(&format!(
            "-crf:v:{number} {} -maxrate:v:{number} {most} -bufsize:v:{number} {buffer}",
            rung.crf
        )));
    }
    let streams: Vec<String> = (0..rungs.len()).map(|number| format!("v:{number}")).collect();
    args.extend(words("-f hls -hls_time 6 -hls_playlist_type vod -hls_segment_type fmp4 -var_stream_map"));
    args.push(format!("{} a:0", streams.join(" ")));
    args.extend(["-hls_segment_filename".to_owned(), format!("{}/%v/%d.m4s", out.display())]);
    args.push(format!("{}/%v/index.m3u8", out.display()));
    args
}

/// A rung as one file.
fn joined(dir: &Path, job: &Job, rung: &Rung) -> PathBuf {
    let folder = job.folder(&rung.rendition);
    let names = std::fs::read_dir(&folder).expect("a folder").flatten().map(|entry| entry.path());
    let init =
        names.into_iter().find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("init-")));
    let mut bytes = std::fs::read(init.expect("an init segment")).expect("a file");
    for number in 0.. {
        let Ok(segment) = std::fs::read(folder.join(format!("{number}.m4s"))) else { break };
        bytes.extend(segment);
    }
    let file = dir.join(format!("own-{}.mp4", rung.rendition));
    std::fs::write(&file, bytes).expect("a file");
    file
}

/// Structural similarity of all planes to the source, at its size, picture by picture.
async fn ssim(file: &Path, source: &Path) -> f64 {
    let mut args = words("-v info -nostdin -i");
    args.extend([file.display().to_string(), "-i".to_owned(), source.display().to_string(), "-lavfi".to_owned()]);
    let numbered = "settb=1/30,setpts=N";
    args.push(format!(
        "[0:v]scale={WIDTH}:{}:flags=bicubic+accurate_rnd,{numbered}[a];[1:v]{numbered}[b];[a][b]ssim",
        WIDTH / 2
    ));
    args.extend(words("-an -f null -"));
    let said = call::ffmpeg(&args).await;
    let all = said.rsplit("All:").next().and_then(|rest| rest.split_whitespace().next());
    all.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no SSIM in: {said}"))
}

/// Mean bit rate of a folder's segments, kbit/s.
fn rate(folder: &Path) -> f64 {
    let files = std::fs::read_dir(folder).expect("a folder").flatten();
    let segments = files.filter(|file| file.path().extension().is_some_and(|name| name == "m4s"));
    let bytes: u64 = segments.filter_map(|file| Some(file.metadata().ok()?.len())).sum();
    bytes as f64 * 8.0 / 1000.0 / f64::from(SECONDS)
}
