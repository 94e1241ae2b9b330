//! How an epoch reads from outside: its multivariant playlist and what `/stat` says of it.

use super::{Epoch, VideoInfo};
use media::hls::{AudioGroup, Multivariant, Variant};
use media::ladder::Rendition;
use media::route::File;

/// How many closed slots a rung that has nothing yet may hold back the multivariant playlist.
const SLOTS_WAITED_FOR_RUNGS: usize = 2;

/// Of how many of the newest segments the bit rate is told.
const SEGMENTS_MEASURED: usize = 5;

impl Epoch {
    /// The multivariant playlist, once there is something to play in (nearly) every rung.
    pub(in crate::live) fn multivariant(&self, stream: &str) -> Option<Multivariant> {
        let window = &self.window;
        let playable = |rendition: Rendition| window.init(rendition).is_some() && window.whole(rendition) > 0;
        let rungs: Vec<(Rendition, &VideoInfo)> =
            self.infos.video.iter().filter_map(|info| Some((info.rendition.parse().ok()?, info))).collect();
        let most = rungs.iter().map(|(rendition, _)| window.whole(*rendition)).max().unwrap_or(0);
        let all = rungs.iter().all(|(rendition, _)| playable(*rendition));
        let audio = self.infos.audio.as_ref().filter(|_| playable(Rendition::Audio));
        let audio_ready = audio.is_some() || !window.renditions().any(|rendition| rendition == Rendition::Audio);
        if !(audio_ready && (all || most >= SLOTS_WAITED_FOR_RUNGS || (most > 0 && window.has_ended()))) {
            return None;
        }
        let uri = |rendition: Rendition, file: File| format!("{stream}/{rendition}/{file}");
        let iframes = |rendition: Rendition| match window.lock() {
            None => uri(rendition, File::IFrames),
            // No part of a segment can be decrypted by itself.
            Some(_) => String::new(),
        };
        let audio = audio.map(|info| AudioGroup {
            uri: uri(Rendition::Audio, File::Playlist),
            channels: info.channels,
            codec: info.codec.clone(),
            peak: window.rates(Rendition::Audio).peak,
            average: window.rates(Rendition::Audio).average(),
        });
        let variants =
            rungs.into_iter().filter(|(rendition, _)| playable(*rendition)).map(|(rendition, info)| Variant {
                uri: uri(rendition, File::Playlist),
                iframes_uri: iframes(rendition),
                codec: info.codec.clone(),
                size: (info.width, info.height),
                fps: self.infos.fps,
                peak: window.rates(rendition).peak,
                average: window.rates(rendition).average(),
                iframes_peak: window.rates(rendition).iframes_peak,
            });
        Some(Multivariant { audio, variants: variants.collect() })
    }

    /// Which of the child's rungs a rendition is, if it is one.
    fn encoded_rung(&self, rendition: Rendition) -> Option<usize> {
        self.ladder.renditions.iter().position(|rung| *rung == rendition)
    }

    /// A rung's size; `None` for sound.
    fn size(&self, rendition: Rendition) -> Option<(u32, u32)> {
        let name = rendition.to_string();
        self.infos.video.iter().find(|info| info.rendition == name).map(|info| (info.width, info.height))
    }

    /// Bit rate of each rendition's newest segments, bit/s.
    pub(in crate::live) fn rates(&self) -> Vec<(Rendition, u64)> {
        let rate = |rendition| Some((rendition, self.window.recent_rate(rendition, SEGMENTS_MEASURED)?));
        self.window.renditions().filter_map(rate).collect()
    }

    pub(in crate::live) fn stat(&self) -> serde_json::Value {
        let rungs: Vec<serde_json::Value> = self
            .window
            .renditions()
            .map(|rendition| {
                let rates = self.window.rates(rendition);
                serde_json::json!({
                    "rendition": rendition.to_string(), "segments": self.window.whole(rendition),
                    "peak_bits_per_s": rates.peak, "average_bits_per_s": rates.average(),
                    "bits_per_s": self.window.recent_rate(rendition, SEGMENTS_MEASURED), "size": self.size(rendition),
                    "encoded": self.encoded_rung(rendition).is_some(),
                    "suspended": self.encoded_rung(rendition).is_some_and(|rung| rung < self.ladder.load.suspended()),
                })
            })
            .collect();
        let terms = self.window.terms();
        serde_json::json!({
            "target_s": terms.target_s, "part_ms": terms.part_ms, "fps": self.infos.fps,
            "listed_from": self.window.listed_from(), "next_media_sequence": self.window.next_number(),
            "renditions": rungs, "sound": self.sound_health().map(|health| serde_json::json!({
                "drift_ms": (health.drift_ms * 10.0).round() / 10.0,
                "silent_blocks": health.silent_blocks, "dropped_blocks": health.dropped_blocks,
            })),
            "ladder": format!("{:?}", self.ladder.state).to_lowercase(), "suspended_rungs": self.ladder.load.suspended(),
        })
    }
}
