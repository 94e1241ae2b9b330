//! The command line, as a newcomer reads it in `--help`.
//!
//! Knows words and types only. What a tier's keys are is `service::config`'s affair.

#[cfg(feature = "tools")]
mod load;

use clap::{Args, Parser, Subcommand};
#[cfg(feature = "tools")]
pub(crate) use load::Load;
use std::path::PathBuf;
use std::time::Duration;

/// Commands that a binary may have been built without, and the Cargo feature that brings each.
const OPTIONAL: [(&str, &str, bool); 7] = [
    ("origin", "origin", cfg!(feature = "origin")),
    ("transcoder", "transcoder", cfg!(feature = "transcoder")),
    ("vod", "transcoder", cfg!(feature = "transcoder")),
    ("all", "origin,transcoder", cfg!(all(feature = "origin", feature = "transcoder"))),
    ("testsource", "tools", cfg!(feature = "tools")),
    ("lint", "tools", cfg!(feature = "tools")),
    ("load", "tools", cfg!(feature = "tools")),
];

const ABOUT: &str = "Live 360° video: point OBS at it, open a browser";

const LONG_ABOUT: &str = "\
Live 360° video: point OBS at it, open a browser.

An encoder publishes by RTMP to an origin, which cuts the stream into HLS at several sizes. Edges cache and hand it to
viewers and CDNs, and serve the page that plays it on a sphere. On one machine, `live360 all` is all of it.";

const EXAMPLES: &str = "\
Examples:
  live360 all                                     everything on this machine; then open http://127.0.0.1:8088/
  live360 testsource rtmp://127.0.0.1/live/test   a test picture, in another terminal
  live360 lint http://127.0.0.1:8088/hls/test.m3u8
  live360 key                                     a key for an encoder on another machine
  live360 load http://127.0.0.1:8088/hls/test.m3u8 --viewers 500
  live360 vod list                                what transcoders are doing
  live360 token 'http://127.0.0.1:8088/?url=/hls/test.m3u8'   a link for a stream that is not for everybody
  live360 edge --set 'edge.origins=[\"http://10.0.0.1:8080\"]'

Exit codes: 0 done, 1 failed, 64 wrong command line or configuration.";

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "live360", version, about = ABOUT, long_about = LONG_ABOUT, after_help = EXAMPLES)]
pub(crate) struct Cli {
    /// What to log: error, warn, info, debug or trace, also per module (info,origin=debug). Logs go to stderr
    #[arg(long, global = true, value_name = "LEVEL")]
    pub(crate) log: Option<String>,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Everything in one process: origin, edge and transcoder. Start here
    #[cfg(all(feature = "origin", feature = "transcoder"))]
    All(Serve),
    /// Takes streams from encoders by RTMP and makes HLS of them, for edges to pull
    #[cfg(feature = "origin")]
    Origin(Serve),
    /// Pulls from origins, caches, and serves viewers, CDNs and the watch page
    Edge(Serve),
    /// Makes better ladders of recordings, and assets of files below uploads/
    #[cfg(feature = "transcoder")]
    Transcoder(Serve),
    /// Shows the transcoders' jobs, and tries again what has failed
    #[cfg(feature = "transcoder")]
    Vod(Vod),
    /// Makes a key that lets an encoder publish, and its hash for the configuration
    Key(Key),
    /// Makes a link to a stream or recording that is not for everybody: who has it may watch until it expires
    Token(Token),
    /// Publishes a test picture: a sphere of colour bars with a running timecode, and a tone
    #[cfg(feature = "tools")]
    Testsource(Testsource),
    /// Checks a stream against the rules of HLS: exit 0 clean, 1 rules broken, 2 could not look
    #[cfg(feature = "tools")]
    Lint(Lint),
    /// Many viewers at once, as players behave: exit 0 objective met, 1 missed, 2 could not run
    #[cfg(feature = "tools")]
    Load(Load),
    /// Encodes a stream's smaller rungs; started by origins, speaks on stdin and stdout.
    #[cfg(any(feature = "origin", feature = "transcoder"))]
    #[command(hide = true)]
    LadderChild,
    /// Looks through and encodes recordings and uploads; started by transcoders, speaks on stdin and stdout.
    #[cfg(feature = "transcoder")]
    #[command(hide = true)]
    VodChild,
    /// Writes manual pages and bash's completions into a folder; for whoever makes a package.
    #[command(hide = true)]
    HelpFiles {
        /// Where to; it must exist
        #[arg(value_name = "FOLDER")]
        folder: PathBuf,
    },
}

/// Options of the commands that serve.
#[derive(Debug, Args)]
#[command(after_help = SERVE_HELP)]
pub(crate) struct Serve {
    /// A TOML file; deploy/live360.toml documents every key with its default
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// One key, as hls.part_ms=250; wins over file and environment. May be given many times
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

const SERVE_HELP: &str = "\
Configuration comes from defaults, then the file, then the environment (LIVE360_ and the key with __ for each dot, as
LIVE360_HLS__PART_MS=250), then --set. A VALUE is read as TOML, else as text. Unknown keys are errors.

When everything listens, stdout gets one line, READY and a JSON object with the addresses. SIGTERM or Ctrl-C lets
viewers finish and ends the process; a second one ends it at once. SIGHUP reads the configuration again.";

/// What `vod` is to do.
#[cfg(feature = "transcoder")]
#[derive(Debug, Args)]
#[command(after_help = VOD_HELP)]
pub(crate) struct Vod {
    /// What to do.
    #[command(subcommand)]
    pub(crate) act: VodAct,
}

#[cfg(feature = "transcoder")]
const VOD_HELP: &str = "\
A recording that has ended, and a file that is dropped into uploads/ of the ingest store, becomes a job: an asset with
several sizes, cut into tasks that any number of transcoders share. An error is tried again; after the third of one step
the job has failed. These commands read the same configuration as `live360 transcoder`, since they look into the same
stores and queue, and work whether or not one runs.";

/// What `vod` is to do.
#[cfg(feature = "transcoder")]
#[derive(Debug, Subcommand)]
pub(crate) enum VodAct {
    /// Lists jobs, the queue and its dead messages: exit 0 all is well, 1 something has failed or is dead
    List {
        /// Show it again every second, with a bar for each job, until all are finished or have failed
        #[arg(long)]
        watch: bool,
        /// Print it as JSON
        #[arg(long, conflicts_with = "watch")]
        json: bool,
        /// Where the stores and the queue are.
        #[command(flatten)]
        config: Configured,
    },
    /// Tries a job again: forgets its errors, and sends what is missing of it
    Retry {
        /// The job's name, as `live360 vod list` shows it
        #[arg(value_name = "JOB")]
        job: String,
        /// Where the stores and the queue are.
        #[command(flatten)]
        config: Configured,
    },
    /// Puts messages back into the queue that were given out too often
    Redrive {
        /// Where the stores and the queue are.
        #[command(flatten)]
        config: Configured,
    },
}

/// The configuration, as the commands that serve have it.
#[derive(Debug, Args)]
pub(crate) struct Configured {
    /// A TOML file; deploy/live360.toml documents every key with its default
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// One key, as storage.ingest=s3://bucket; wins over file and environment. May be given many times
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

/// Options of `key`.
#[derive(Debug, Args)]
#[command(after_help = KEY_HELP)]
pub(crate) struct Key {
    /// Hash a key of your own, which is read from stdin, instead of making one
    #[arg(long)]
    pub(crate) own: bool,
}

const KEY_HELP: &str = "\
The encoder gets the key (key field NAME?key=KEY), the configuration the hash: publish.key for all streams, or
streams.NAME.key for one. A key that was made here can't be guessed, so its hash is quick to check; one that somebody
thought up gets a slow hash (Argon2id).";
/// Options of `token`.
#[derive(Debug, Args)]
#[command(after_help = TOKEN_HELP)]
pub(crate) struct Token {
    /// What to watch: a playlist's path or URL, or the watch page's address
    #[arg(value_name = "ADDRESS")]
    pub(crate) address: String,
    /// For how long the link is good: 90m, 6h, 2days
    #[arg(long, default_value = "6h", value_name = "TIME", value_parser = life)]
    pub(crate) expires_in: Duration,
    /// The path that it grants; without this the stream or the recording, and nothing else. / grants everything
    #[arg(long, value_name = "PATH")]
    pub(crate) prefix: Option<String>,
    /// Where the secret is.
    #[command(flatten)]
    pub(crate) config: Configured,
}

const TOKEN_HELP: &str = "\
Streams with watch = \"signed\" play only by a link that was signed by the first of watch.secrets. Give this command the
configuration of the edges, or only the secret, by the environment. It asks no server:

  LIVE360_WATCH__SECRETS=… live360 token https://live.example.org/hls/show.m3u8 --expires-in 90m
  live360 token --config /etc/live360.toml 'https://live.example.org/?url=/vod/show-20261120T172500Z/index.m3u8'

Whoever has the link can hand it on. It can't be taken back before it expires but by changing the secret, which ends all.
To make links elsewhere, in a few lines of Python, JavaScript or shell, see docs/watching.md.";

/// What can be given a token.
pub(crate) const TOKEN_ADDRESSES: &str = "write a playlist's address as /hls/show.m3u8 or \
https://live.example.org/vod/show-20261120T172500Z/index.m3u8, or the watch page's as \
https://live.example.org/?url=/hls/show.m3u8";

/// Longest life of a link: ten years.
const LIFE_MAX: Duration = Duration::from_secs(3650 * 86_400);

/// Options of `testsource`.
#[cfg(feature = "tools")]
#[derive(Debug, Args)]
pub(crate) struct Testsource {
    /// Where to publish, with the stream's name at the end: rtmp://127.0.0.1/live/test
    #[arg(value_name = "RTMP_URL")]
    pub(crate) url: String,
    /// Width and height in pixels, even; twice as wide as high for a whole sphere
    #[arg(long, default_value = "1920x960", value_name = "WxH", value_parser = size)]
    pub(crate) size: (u32, u32),
    /// Frames a second: 25, 29.97 or 30000/1001
    #[arg(long, default_value = "30", value_name = "RATE", value_parser = rate)]
    pub(crate) fps: (u32, u32),
    /// Seconds from one key frame to the next, up to 60; 0 makes every picture one
    #[arg(long, default_value_t = 2.0, value_name = "SECONDS")]
    pub(crate) keyint: f64,
    /// Video bits a second: 6000k, 6M or 6000000
    #[arg(long, default_value = "6000k", value_name = "RATE", value_parser = bitrate)]
    pub(crate) bitrate: u32,
    /// Publish no tone
    #[arg(long)]
    pub(crate) no_audio: bool,
    /// Stop after this many seconds; without it only Ctrl-C does
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) duration: Option<f64>,
    /// When the server refuses or goes away, try again after this many seconds; without it that is the end
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) reconnect: Option<f64>,
}

/// Options of `lint`.
#[cfg(feature = "tools")]
#[derive(Debug, Args)]
pub(crate) struct Lint {
    /// A playlist: http://127.0.0.1:8088/hls/test.m3u8
    #[arg(value_name = "URL")]
    pub(crate) url: String,
    /// How long to watch a live stream; without it three target durations, at most 30 seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) watch: Option<f64>,
    /// Look again and again until Ctrl-C, and print a line when a rule is broken or kept again (with --json, a JSON object)
    #[arg(long)]
    pub(crate) forever: bool,
    /// With --forever: a file to keep up to date for Prometheus's textfile collector
    #[arg(long, value_name = "FILE", requires = "forever")]
    pub(crate) textfile: Option<PathBuf>,
    /// Count a broken SHOULD as a broken rule too
    #[arg(long)]
    pub(crate) strict: bool,
    /// A SHOULD that is broken on purpose, and why. May be given many times
    #[arg(long, value_name = "RULE=REASON", value_parser = accept)]
    pub(crate) accept: Vec<(String, String)>,
    /// Print the report as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// A PEM file of certificates to trust beside the system's
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Take any certificate
    #[arg(long)]
    pub(crate) insecure: bool,
}

/// Words for a command that this binary was built without.
pub(crate) fn not_built(error: &clap::Error) -> Option<String> {
    let asked = error.get(clap::error::ContextKind::InvalidSubcommand)?.to_string();
    let (name, features, _) = OPTIONAL.iter().find(|(name, _, built)| *name == asked && !built)?;
    Some(format!(
        "this binary was built without `{name}`: use one built with `cargo build --features {features}`, or the commands \
         that `live360 --help` lists"
    ))
}

fn life(text: &str) -> Result<Duration, String> {
    let life = humantime::parse_duration(text).ok().filter(|life| life.as_secs() > 0 && *life <= LIFE_MAX);
    life.ok_or_else(|| "allowed is a time from 1s to 3650days, as 90m, 6h or 2days".to_owned())
}

#[cfg(feature = "tools")]
fn size(text: &str) -> Result<(u32, u32), String> {
    let number = |text: &str| text.parse::<u32>().ok().filter(|n| (64..=8192).contains(n) && n % 2 == 0);
    text.split_once('x')
        .and_then(|(width, height)| Some((number(width)?, number(height)?)))
        .ok_or_else(|| "allowed is WIDTHxHEIGHT, both even and from 64 to 8192, as 1920x960".to_owned())
}

#[cfg(feature = "tools")]
fn rate(text: &str) -> Result<(u32, u32), String> {
    let fraction = || {
        let (frames, seconds) = text.split_once('/')?;
        Some((frames.parse().ok()?, seconds.parse().ok()?))
    };
    let decimal = || {
        let rate: f64 = text.parse().ok()?;
        // What people write as 29.97 or 59.94 is a whole number less a thousandth of it.
        let whole = rate.ceil();
        let drop = (rate - whole * 1000.0 / 1001.0).abs() < 0.005;
        let thousandths = rate * 1000.0;
        let exact = thousandths.fract().abs() < 1e-6 && rate > 0.0;
        if drop { Some((whole as u32 * 1000, 1001)) } else { exact.then_some((thousandths as u32, 1000)) }
    };
    fraction()
        .or_else(decimal)
        .map(
            |(frames, seconds): (u32, u32)| {
                if frames % 1000 == 0 && seconds == 1000 { (frames / 1000, 1) } else { (frames, seconds) }
            },
        )
        .filter(|(frames, seconds)| *seconds > 0 && (1..=240).contains(&(frames / seconds)))
        .ok_or_else(|| "allowed is a rate from 1 to 240, as 25, 29.97 or 30000/1001".to_owned())
}

#[cfg(feature = "tools")]
fn bitrate(text: &str) -> Result<u32, String> {
    let (digits, unit) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (text.get(..at), 1000),
        Some((at, 'm' | 'M')) => (text.get(..at), 1_000_000),
        _ => (Some(text), 1),
    };
    digits
        .and_then(|digits| digits.parse::<u32>().ok()?.checked_mul(unit))
        .filter(|bits| (50_000..=200_000_000).contains(bits))
        .ok_or_else(|| "allowed is 50k to 200M, as 6000k or 6M".to_owned())
}

#[cfg(feature = "tools")]
fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse::<f64>().ok().filter(|s| (0.1..=1e7).contains(s));
    seconds.ok_or_else(|| "allowed is a number of seconds from 0.1".to_owned())
}

#[cfg(feature = "tools")]
fn accept(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').map(|(rule, reason)| (rule.trim(), reason.trim()));
    let pair = pair.filter(|(rule, reason)| !rule.is_empty() && !reason.is_empty());
    let owned = pair.map(|(rule, reason)| (rule.to_owned(), reason.to_owned()));
    owned.ok_or_else(|| "allowed is RULE=REASON".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn links_live_for_a_time_that_people_write() {
        assert_eq!((life("90m"), life("2days")), (Ok(Duration::from_secs(5400)), Ok(Duration::from_secs(172_800))));
        for bad in ["", "6", "0s", "1ms", "-1h", "11years", "soon"] {
            assert!(life(bad).is_err(), "{bad}");
        }
    }

    #[cfg(feature = "tools")]
    #[test]
    fn rates_are_read_as_people_write_them() {
        for (text, expected) in [
            ("30", (30, 1)),
            ("29.97", (30000, 1001)),
            ("59.94", (60000, 1001)),
            ("23.976", (24000, 1001)),
            ("12.5", (12500, 1000)),
            ("30000/1001", (30000, 1001)),
        ] {
            assert_eq!(rate(text), Ok(expected), "{text}");
        }
        for bad in ["", "0", "-1", "abc", "1000", "1/0", "30/", "NaN", "inf"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }

    #[cfg(feature = "tools")]
    #[test]
    fn sizes_and_bit_rates_are_checked() {
        assert_eq!((size("1920x960"), bitrate("6M"), bitrate("500k")), (Ok((1920, 960)), Ok(6_000_000), Ok(500_000)));
        for bad in ["", "1920", "1921x960", "1920x", "0x0", "99999x2"] {
            assert!(size(bad).is_err(), "{bad}");
        }
        for bad in ["", "k", "1k", "999999M", "6é"] {
            assert!(bitrate(bad).is_err(), "{bad}");
        }
    }
}
