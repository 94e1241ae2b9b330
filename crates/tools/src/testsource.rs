//! A test picture for spheres, published like an encoder would: `live360 testsource RTMP_URL`.
//!
//! Colour bars, grid, horizon and the names of the directions laid out on the sphere, a running clock in UTC, a timecode
//! for machines ([`decode_timecode`]), a ball that goes around, a tone that beeps with the ball's blink. Drawn and
//! encoded in process ([`codec::encode`]), paced by the monotonic clock, sent over real RTMP. Knows no server's insides.

mod address;
mod backdrop;
mod canvas;
mod flv;
mod font;
mod producer;
mod publish;
mod sound;
mod sphere;
mod stamp;

pub use stamp::decode_timecode;

use address::Address;
use media::rate::FrameRate;
use producer::Producer;
use publish::Publisher;
use rml_rtmp::sessions::StreamMetadata;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Tags that wait for the network: about half a second. Beyond it the picture waits.
const QUEUE_TAGS: usize = 40;

/// What to publish, and where.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// `rtmp://host[:port]/app/NAME[?key=SECRET]`.
    pub url: String,
    /// Pixels across: even, 64 to 8192. Machines read the timecode from 160 on, at sensible bit rates from 320.
    pub width: u32,
    /// Pixels down: even, 32 to 8192; half the width for an undistorted sphere.
    pub height: u32,
    /// Pictures (first) per so many seconds (second): 1 to 240 per second.
    pub frame_rate: (u32, u32),
    /// Seconds from one key frame to the next, rounded to whole pictures: 0 (every picture) to 60.
    pub keyframe_s: f64,
    /// Bits per second of the picture.
    pub bitrate: u32,
    /// B-frames between others; 0 for the least delay.
    pub bframes: u8,
    /// Whether there is a tone.
    pub audio: bool,
    /// How long; `None` until stopped.
    pub duration: Option<Duration>,
    /// After a failure, wait this long and start anew; `None`: fail.
    pub reconnect: Option<Duration>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            url: "rtmp://127.0.0.1:1935/live/test".to_owned(),
            width: 1920,
            height: 960,
            frame_rate: (30, 1),
            keyframe_s: 2.0,
            bitrate: 6_000_000,
            bframes: 0,
            audio: true,
            duration: None,
            reconnect: None,
        }
    }
}

/// Why the test picture could not be published.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not a publishing address.
    #[error("{0:?} is no address to publish to: write rtmp://HOST[:PORT]/live/NAME, with ?key=SECRET if it needs one")]
    Address(String),
    /// An option outside its limits.
    #[error("{what} is {value}, and must be {allowed}")]
    Option {
        /// Which.
        what: &'static str,
        /// As given.
        value: String,
        /// What would do.
        allowed: &'static str,
    },
    /// Nobody there.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// Host and port.
        address: String,
        /// The system's words.
        source: std::io::Error,
    },
    /// The server does not want the stream.
    #[error("the server refused: {description}")]
    Refused {
        /// The server's words.
        description: String,
    },
    /// The server did not do its part in time.
    #[error("the server took more than {after:?} {what}")]
    Silent {
        /// Its part.
        what: &'static str,
        /// The limit.
        after: Duration,
    },
    /// The server closed the connection without a word.
    #[error("the server closed the connection")]
    Closed,
    /// The connection broke.
    #[error("lost the connection: {0}")]
    Lost(#[source] std::io::Error),
    /// The server does not speak RTMP as we know it.
    #[error("the server does not speak RTMP as expected: {0}")]
    Protocol(String),
    /// The encoders' fault.
    #[error(transparent)]
    Codec(#[from] codec::Error),
    /// The thread that draws has panicked.
    #[error("the drawing thread has failed")]
    Drawing,
}

impl Error {
    /// Whether another try could end better.
    fn may_pass(&self) -> bool {
        !matches!(self, Self::Address(_) | Self::Option { .. } | Self::Codec(_) | Self::Drawing)
    }
}

impl Options {
    /// The rate, within limits.
    fn rate(&self) -> Result<FrameRate, Error> {
        let (num, den) = self.frame_rate;
        if den == 0 || num > 1_000_000 || !(1..=240).contains(&(num / den)) {
            return Err(Error::Option {
                what: "frame rate",
                value: format!("{num}/{den}"),
                allowed: "1 to 240 per second",
            });
        }
        Ok(FrameRate { num, den })
    }

    fn check(&self) -> Result<Address, Error> {
        self.rate()?;
        let even = |side: u32, least| (least..=8192).contains(&side) && side.is_multiple_of(2);
        if !even(self.width, 64) || !even(self.height, 32) {
            let value = format!("{}x{}", self.width, self.height);
            return Err(Error::Option { what: "picture size", value, allowed: "even, 64x32 to 8192x8192" });
        }
        if !(0.0..=60.0).contains(&self.keyframe_s) {
            let value = self.keyframe_s.to_string();
            return Err(Error::Option { what: "key-frame interval", value, allowed: "0 to 60 seconds" });
        }
        Address::parse(&self.url)
    }

    fn metadata(&self) -> StreamMetadata {
        let mut metadata = StreamMetadata::new();
        metadata.video_width = Some(self.width);
        metadata.video_height = Some(self.height);
        metadata.video_codec_id = Some(7);
        metadata.video_frame_rate = Some(self.frame_rate.0 as f32 / self.frame_rate.1 as f32);
        metadata.video_bitrate_kbps = Some(self.bitrate / 1000);
        if self.audio {
            metadata.audio_codec_id = Some(10);
            metadata.audio_sample_rate = Some(sound::SAMPLE_RATE);
            metadata.audio_channels = Some(u32::from(sound::CHANNELS));
            metadata.audio_is_stereo = Some(true);
            metadata.audio_bitrate_kbps = Some(128);
        }
        metadata.encoder = Some(concat!("live360 testsource ", env!("CARGO_PKG_VERSION")).to_owned());
        metadata
    }
}

/// Publishes until the duration is over or `shutdown` is cancelled; both are success. With `reconnect`, what may pass is
/// logged and tried again, from a new start.
pub async fn run(options: Options, shutdown: CancellationToken) -> Result<(), Error> {
    let address = options.check()?;
    loop {
        let Err(failed) = publish_once(&options, &address, &shutdown).await else { return Ok(()) };
        let Some(pause) = options.reconnect.filter(|_| failed.may_pass()) else { return Err(failed) };
        tracing::warn!("{failed}; trying again in {pause:?}");
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// One connection, from the first word to the last.
async fn publish_once(options: &Options, address: &Address, shutdown: &CancellationToken) -> Result<(), Error> {
    // Drawn before connecting: at 4K it takes a while, and a server waits for nobody.
    let settings = options.clone();
    let prepared = tokio::task::spawn_blocking(move || Producer::new(&settings)).await;
    let producer = prepared.map_err(|_| Error::Drawing)??;
    let publisher = tokio::select! {
        opened = Publisher::open(address) => opened?,
        () = shutdown.cancelled() => return Ok(()),
    };
    let Options { width, height, frame_rate: (num, den), .. } = *options;
    tracing::info!(url = %address.tc_url, "publishing {width}x{height} at {num}/{den}");
    let (sender, mut tags) = mpsc::channel(QUEUE_TAGS);
    let stop = shutdown.child_token();
    let stopper = stop.clone().drop_guard();
    let drawing = tokio::task::spawn_blocking(move || producer.run(&sender, &stop));
    let published = publisher.run(&options.metadata(), &mut tags, shutdown).await;
    // Without a receiver the thread cannot wait for room, and without a guard it does not wait for time.
    drop((tags, stopper));
    let drawn = drawing.await.map_err(|_| Error::Drawing)?;
    published.and(drawn)
}
