//! FFmpeg as an encoder, and as the maker of test media.

use std::path::Path;
use std::process::Stdio;
use tokio::process::{Child, Command};

/// What to send.
#[derive(Debug, Clone)]
pub struct Source {
    /// Picture size, `WxH`.
    pub size: &'static str,
    /// Frames per second, as FFmpeg writes it.
    pub fps: &'static str,
    /// Frames between key frames.
    pub keyint: u32,
    /// B-frames in a row.
    pub bframes: u32,
    /// With a tone.
    pub audio: bool,
    /// Length in seconds.
    pub seconds: u32,
}

impl Default for Source {
    fn default() -> Self {
        Self { size: "1280x640", fps: "30", keyint: 60, bframes: 2, audio: true, seconds: 60 }
    }
}

impl Source {
    fn inputs(&self, realtime: bool) -> Vec<String> {
        let mut args: Vec<String> = Vec::new();
        let mut input = |filter: String| {
            if realtime {
                args.push("-re".to_owned());
            }
            args.extend(["-f".to_owned(), "lavfi".to_owned(), "-i".to_owned(), filter]);
        };
        input(format!("testsrc2=size={}:rate={}", self.size, self.fps));
        if self.audio {
            input("sine=frequency=440:sample_rate=48000".to_owned());
        }
        args
    }

    fn encoding(&self) -> Vec<String> {
        let text = format!(
            "-t {} -c:v libx264 -preset ultrafast -tune stillimage -pix_fmt yuv420p -g {keyint} -keyint_min {keyint} \
             -sc_threshold 0 -bf {} -b:v 1500k -threads 1",
            self.seconds,
            self.bframes,
            keyint = self.keyint,
        );
        let mut args: Vec<String> = text.split(' ').map(str::to_owned).collect();
        if self.audio {
            args.extend(["-c:a", "aac", "-b:a", "96k"].map(str::to_owned));
        }
        args
    }
}

/// A running FFmpeg, ended with its owner.
#[derive(Debug)]
pub struct Ffmpeg {
    child: Child,
}

impl Ffmpeg {
    /// Encodes and publishes in real time.
    pub fn publish(source: &Source, url: &str) -> Self {
        let mut args = source.inputs(true);
        args.extend(source.encoding());
        args.extend(["-f", "flv", url].map(str::to_owned));
        Self::start(&args)
    }

    /// Encodes and publishes in real time to several servers at once. One that goes away is left behind; nobody waits for
    /// it, not even for the moment that it takes to notice.
    pub fn publish_to_all(source: &Source, urls: &[String]) -> Self {
        let mut args = source.inputs(true);
        args.extend(source.encoding());
        let slaves: Vec<String> = urls.iter().map(|url| format!("[f=flv:use_fifo=1:onfail=ignore]{url}")).collect();
        // Each slave is an FLV muxer of its own, which wants the decoder's configuration before the first picture.
        let tee = ["-flags", "+global_header", "-map", "0:v", "-map", "1:a", "-f", "tee"];
        args.extend(tee.map(str::to_owned));
        args.push(slaves.join("|"));
        Self::start(&args)
    }

    /// Publishes a file in real time as it is.
    pub fn publish_file(file: &Path, url: &str, options: &[&str]) -> Self {
        Self::send(&["-re"], file, url, options)
    }

    /// Publishes a file as it is, as fast as the server takes it.
    pub fn send_file(file: &Path, url: &str, options: &[&str]) -> Self {
        Self::send(&[], file, url, options)
    }

    fn send(pace: &[&str], file: &Path, url: &str, options: &[&str]) -> Self {
        let mut args: Vec<String> = pace.iter().map(|&option| option.to_owned()).collect();
        args.extend(["-i".to_owned(), file.display().to_string()]);
        args.extend(["-c", "copy"].map(str::to_owned));
        args.extend(options.iter().map(|&option| option.to_owned()));
        args.extend(["-f", "flv", url].map(str::to_owned));
        Self::start(&args)
    }

    fn start(args: &[String]) -> Self {
        let child = Command::new("ffmpeg")
            .args(["-v", "error", "-nostdin"])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("ffmpeg is installed (make setup)");
        Self { child }
    }

    /// Ends it at once, as a lost connection would.
    pub async fn stop(mut self) {
        self.child.kill().await.expect("it was running");
    }

    /// Waits for its end; returns whether it succeeded, and what it said.
    pub async fn wait(self) -> (bool, String) {
        let output = tokio::time::timeout(crate::DEADLINE * 3, self.child.wait_with_output()).await;
        let output = output.expect("it ends in time").expect("it can be waited for");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// Makes a file of test media.
pub async fn make_media(source: &Source, file: &Path) {
    let mut args = source.inputs(false);
    args.extend(source.encoding());
    args.push(file.display().to_string());
    let (ok, words) = Ffmpeg::start(&args).wait().await;
    assert!(ok, "ffmpeg could not make {}: {words}", file.display());
}

/// Runs a program such as ffprobe to its end; returns its stdout. It must succeed and say nothing else.
pub async fn tool(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output().await;
    let output = output.unwrap_or_else(|error| panic!("{program}: {error} (make setup installs it)"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.is_empty(), "{program} {args:?}: {said}");
    String::from_utf8(output.stdout).expect("UTF-8")
}
