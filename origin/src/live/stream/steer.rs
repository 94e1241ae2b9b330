//! What an operator does to a stream that runs, and what a config that was read again changes in it.
//!
//! Carries out; when something can take effect is decided by the core and the tape.

use super::{Stream, Task, kept_s, utc_ms};
use crate::live::core::{Input, Options, Steered};
use crate::record::Recording;
use crate::steer::{Act, Cannot, MARKS_MAX, Mark};
use media::hls::date;
use media::route::File;
use serde_json::{Value, json};
use service::config::Record;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

/// What of a stream's setup can change while it runs.
#[derive(Debug)]
pub(crate) struct Configured {
    pub(crate) options: Options,
    pub(crate) listed: bool,
    pub(crate) record: Record,
}

impl Stream {
    /// The marks of the epoch, oldest first.
    pub(crate) fn marks(&self) -> Vec<Mark> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn forget_marks(&self) {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Task {
    /// Does what an operator asks for, and says in JSON when it takes effect.
    pub(super) async fn steer(&mut self, act: Act) -> Result<Value, Cannot> {
        match act {
            Act::Kick(reason) => self.kick(&reason).await,
            Act::Record(Some(what)) => self.start_recording(what),
            Act::Record(None) => self.stop_recording(),
            Act::Mark(name) => self.mark(name),
            Act::Layout(projection, stereo) => {
                self.obey(Input::Layout(projection, stereo)).await;
                let core = self.stream.core();
                let (projection, stereo) = (projection.map(|of| json!(of)), stereo.map(|of| json!(of)));
                let effect = core.layout_takes_effect();
                Ok(json!({ "projection": projection, "stereo": stereo, "takes_effect": words(effect) }))
            }
        }
    }

    /// Takes over what the config says now.
    pub(super) async fn configure(&mut self, configured: Configured) {
        let Configured { options, listed, record } = configured;
        (self.listed, self.record) = (listed, record);
        // Playlists of this epoch name what they name.
        self.window_s = self.window_s.max(kept_s(options.window_s));
        self.apply_grant();
        self.obey(Input::Configure(Box::new(options))).await;
    }

    /// What the config says of listing and recording, unless whoever let the publisher in said otherwise.
    pub(super) fn apply_grant(&mut self) {
        self.stream.listed.store(self.granted.listed.unwrap_or(self.listed), Ordering::Relaxed);
        let begun = self.stream.core().since().is_some() && self.stream.ended().is_none();
        self.tape.configure(self.granted.record.unwrap_or(self.record), begun);
    }

    async fn kick(&mut self, reason: &str) -> Result<Value, Cannot> {
        let Some(publisher) = self.publisher.take() else { return Err(Cannot::NobodyPublishes) };
        let why = if reason.is_empty() { "the operator".to_owned() } else { format!("the operator: {reason}") };
        self.closed(&publisher, "kicked");
        publisher.revoke(&format!("taken off by {why}"));
        self.obey(Input::Unpublish).await;
        Ok(json!({ "kicked": true, "note": "the encoder may come back at once; the stream waits for it" }))
    }

    fn start_recording(&mut self, what: Record) -> Result<Value, Cannot> {
        let live = self.publisher.is_some();
        let recording = self.tape.start(what, live, utc_ms())?;
        if recording == Recording::Begun {
            // What segments of this epoch can't be played without was made before anybody recorded.
            let core = self.stream.core();
            let files = core.window().map(|window| window.files()).unwrap_or_default();
            for (rendition, file) in files.into_iter().filter(|(_, file)| matches!(file, File::Init(_))) {
                if let Some(body) = self.stream.files.read_now(rendition, &file) {
                    self.tape.file(&core, rendition, &file, &[body]);
                }
            }
        }
        let note = match recording {
            Recording::Already => "it is recorded already",
            Recording::Begun => "from the next key frame on",
            Recording::GoesOn => "it goes on at the next key frame, in the same asset, behind a gap",
            Recording::NextPublish => "when an encoder publishes next",
        };
        Ok(json!({ "recording": self.stream.recording.words(), "note": note }))
    }

    fn stop_recording(&mut self) -> Result<Value, Cannot> {
        self.tape.stop()?;
        let note = "what comes now is not recorded; start it again and the asset goes on behind a gap. The asset can be \
                    watched when the stream has ended";
        Ok(json!({ "recording": self.stream.recording.words(), "note": note }))
    }

    fn mark(&mut self, name: String) -> Result<Value, Cannot> {
        let at_ms = self.stream.core().newest_ms().ok_or(Cannot::NothingYet)?;
        let mark = Mark { name, at_ms };
        let mut marks = self.stream.marks.lock().unwrap_or_else(PoisonError::into_inner);
        if marks.len() >= MARKS_MAX {
            return Err(Cannot::TooManyMarks);
        }
        marks.push(mark.clone());
        drop(marks);
        let recorded = self.tape.mark(mark.clone());
        Ok(json!({ "mark": mark.name, "time": date(at_ms), "recorded": recorded }))
    }
}

fn words(effect: Steered) -> &'static str {
    match effect {
        Steered::Already => "it is so already",
        Steered::NextKeyFrame => {
            "at the next key frame, in new init segments behind an EXT-X-DISCONTINUITY, until the process is started again. \
             Of a pair of origins, tell both"
        }
        Steered::NextPublish => "when an encoder publishes next, until the process is started again",
    }
}
