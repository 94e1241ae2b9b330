//! The options of `live360 load`, as a newcomer reads them in `--help`.
//!
//! Knows words and types only.

use super::seconds;
use clap::{Args, ValueEnum};
use std::net::IpAddr;
use std::path::PathBuf;
use tools::load::{Objective, RungChoice, Version};

const HELP: &str = "\
Each viewer fetches the multivariant playlist, takes a rung that its connection brings, and the sound; begins near the live
edge, asks for parts and holds playlist reloads as LL-HLS players do (or polls where a stream has none), reads ahead up to
--buffer, and plays against a clock. Nothing is decoded. At a recording's end another viewer takes its place.

The objective is a list of conditions with commas between; all must be met:
  started>=99%       viewers that saw a first picture, of those that stayed 3 s
  stall_ratio<0.1%   time that viewers stood still, once they had begun
  stalls<1           how many stalls there were
  errors<0.01%       requests that failed
  startup_p95<2s     from coming to the first picture; any percentile (p50, p99.9)
  latency_p95<6s     behind what happens, by EXT-X-PROGRAM-DATE-TIME and this machine's clock; viewers at the live edge
  stall_p95<1s       length of stalls
  segment_p99<500ms  any kind of request: multivariant, playlist, reload and hint (which servers hold), init, key,
                     segment, part, plain
What there was nothing to measure of misses a condition that was given.

Exit codes: 0 objective met, 1 missed, 2 could not run, 64 wrong command line.

Examples:
  live360 load http://127.0.0.1:8088/hls/NAME.m3u8 --viewers 1000 --duration 60 --ramp 20
  live360 load URL --dvr 0.2 --churn 30 --objective 'stall_ratio<1%, latency_p99<10s' --json

One address has about 28,000 ports for connections to one server. More viewers on one machine need more addresses:
--source 127.0.0.2,127.0.0.3 (all of 127.0.0.0/8 is there on Linux).";

/// Options of `load`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct Load {
    /// A playlist: http://127.0.0.1:8088/hls/NAME.m3u8. Tokens in the path stay with all that it leads to
    #[arg(value_name = "URL")]
    pub(crate) url: String,
    /// How many viewers at a time, up to 100000
    #[arg(long, default_value_t = 100, value_name = "COUNT")]
    pub(crate) viewers: usize,
    /// How long to load, the ramp included
    #[arg(long, default_value_t = 30.0, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) duration: f64,
    /// Over which time viewers come; by default a sixth of the duration, 0 for all at once
    #[arg(long, value_name = "SECONDS", value_parser = any_seconds)]
    pub(crate) ramp: Option<f64>,
    /// Share of viewers, 0 to 1, that begin somewhere back in the window instead of at the live edge
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    pub(crate) dvr: f64,
    /// Viewers leave after this time on the average, and others come
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) churn: Option<f64>,
    /// Which rung: auto (by what the connection brings), lowest, highest, or a number from 0 for the smallest
    #[arg(long, default_value = "auto", value_name = "RUNG", value_parser = rung)]
    pub(crate) rung: RungChoice,
    /// How much viewers read ahead
    #[arg(long, default_value_t = 30.0, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) buffer: f64,
    /// Whole segments and polled playlists only, as players without LL-HLS
    #[arg(long)]
    pub(crate) no_low_latency: bool,
    /// Don't ask for parts that are only announced, as hls.js; without this, as Apple's players
    #[arg(long)]
    pub(crate) no_hints: bool,
    /// What the run must come to; see below
    #[arg(long, default_value = tools::load::DEFAULT_OBJECTIVE, hide_default_value = false, value_name = "CONDITIONS")]
    pub(crate) objective: String,
    /// Print the report as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Print no progress on stderr
    #[arg(long)]
    pub(crate) quiet: bool,
    /// Ask for the one address again and again instead, whatever it is, as tools do that only know HTTP
    #[arg(long)]
    pub(crate) plain: bool,
    /// Which HTTP: auto is what the server offers over TLS, and 1.1 without
    #[arg(long, default_value = "auto", value_name = "VERSION")]
    pub(crate) http: Http,
    /// Requests at a time of one viewer over HTTP/1.1
    #[arg(long, default_value_t = 6, value_name = "COUNT")]
    pub(crate) connections: usize,
    /// Threads with viewers; one holds thousands
    #[arg(long, default_value_t = 1, value_name = "COUNT")]
    pub(crate) threads: usize,
    /// Own addresses that connections come from, in turn
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    pub(crate) source: Vec<IpAddr>,
    /// Makes runs alike: which viewers begin back in the window, and when they leave
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    pub(crate) seed: u64,
    /// A PEM file of certificates to trust beside the system's
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Take any certificate
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Load another host than this machine: only what is yours to load
    #[arg(long)]
    pub(crate) i_may_load_this_host: bool,
}

/// Which HTTP.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Http {
    /// What the server offers over TLS, else 1.1
    Auto,
    /// 1.1
    #[value(name = "1")]
    One,
    /// 2, also without TLS
    #[value(name = "2")]
    Two,
}

impl From<Http> for Version {
    fn from(http: Http) -> Self {
        match http {
            Http::Auto => Self::Auto,
            Http::One => Self::One,
            Http::Two => Self::Two,
        }
    }
}

impl Load {
    /// The conditions of this command line: the default ones pass over what there is nothing to measure of.
    pub(crate) fn objective(&self) -> Result<Objective, tools::load::BadObjective> {
        if self.objective == tools::load::DEFAULT_OBJECTIVE { Ok(Objective::default()) } else { self.objective.parse() }
    }
}

fn rung(text: &str) -> Result<RungChoice, String> {
    match text {
        "auto" => Ok(RungChoice::Auto),
        "lowest" => Ok(RungChoice::Lowest),
        "highest" => Ok(RungChoice::Highest),
        _ => text.parse().map(RungChoice::Nth).map_err(|_| "allowed is auto, lowest, highest or a number".to_owned()),
    }
}

fn any_seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse::<f64>().ok().filter(|s| (0.0..=1e7).contains(s));
    seconds.ok_or_else(|| "allowed is a number of seconds from 0".to_owned())
}
