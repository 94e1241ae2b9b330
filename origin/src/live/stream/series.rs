//! What `/metrics` shows of one stream while there is one.

use super::{Stream, utc_ms};
use crate::live::core::State;
use service::telemetry::Series;
use std::sync::PoisonError;

impl Stream {
    /// Adds this stream's series.
    pub(crate) fn collect(&self, series: &mut Series) {
        let name = self.name.as_str();
        let core = self.core();
        let live = matches!(core.state(), State::Live);
        let (vitals, sound) = (core.vitals(utc_ms()), core.sound_health());
        let (suspended, rates) = (core.suspended(), core.rates());
        drop(core);
        series.gauge("live360_stream_live", &[("stream", name)], f64::from(u8::from(live)));
        series.counter("live360_stream_input_bytes_total", &[("stream", name)], vitals.bytes as f64);
        if let Some(bits) = vitals.bits_per_s {
            series.gauge("live360_stream_input_bytes_per_second", &[("stream", name)], bits as f64 / 8.0);
        }
        if let Some(rate) = vitals.frames_per_s {
            series.gauge("live360_stream_frame_rate_hertz", &[("stream", name)], rate);
        }
        if let Some(seconds) = vitals.key_frame_interval_s {
            series.gauge("live360_stream_key_frame_interval_seconds", &[("stream", name)], seconds);
        }
        if let Some(headroom) = vitals.encode_headroom {
            series.gauge("live360_stream_encode_headroom_ratio", &[("stream", name)], headroom);
        }
        series.gauge("live360_stream_suspended_rungs", &[("stream", name)], suspended as f64);
        if let Some(sound) = sound {
            series.gauge("live360_stream_audio_drift_seconds", &[("stream", name)], sound.drift_ms / 1000.0);
            series.gauge("live360_stream_audio_silent_blocks", &[("stream", name)], sound.silent_blocks as f64);
            series.gauge("live360_stream_audio_dropped_blocks", &[("stream", name)], sound.dropped_blocks as f64);
        }
        for (rendition, bits) in rates.into_iter().filter(|_| live) {
            let rendition = rendition.to_string();
            let own = bits as f64 / 8.0;
            series.gauge("live360_stream_output_bytes_per_second", &[("stream", name), ("rendition", &rendition)], own);
        }
        series.gauge(
            "live360_stream_recording",
            &[("stream", name)],
            f64::from(u8::from(live && self.recording.goes_on())),
        );
        series.gauge("live360_stream_recording_waiting_bytes", &[("stream", name)], self.recording.waiting() as f64);
        let warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner).len();
        series.gauge("live360_stream_warnings", &[("stream", name)], warnings as f64);
    }
}
