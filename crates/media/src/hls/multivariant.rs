//! A stream's multivariant playlist.

use super::media::line;

/// What a multivariant playlist says.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Multivariant {
    /// The audio rendition, if the stream has one.
    pub audio: Option<AudioGroup>,
    /// The rungs, best first.
    pub variants: Vec<Variant>,
}

/// The audio rendition.
#[derive(Debug, Clone, PartialEq)]
pub struct AudioGroup {
    /// Relative URI of its playlist.
    pub uri: String,
    /// Channels.
    pub channels: u8,
    /// RFC 6381 codec.
    pub codec: String,
    /// Highest segment bit rate, bit/s.
    pub peak: u64,
    /// Average bit rate, bit/s.
    pub average: u64,
}

/// One rung.
#[derive(Debug, Clone, PartialEq)]
pub struct Variant {
    /// Relative URI of its playlist.
    pub uri: String,
    /// Relative URI of its I-frame playlist; empty if there is none.
    pub iframes_uri: String,
    /// RFC 6381 codec.
    pub codec: String,
    /// Picture size.
    pub size: (u32, u32),
    /// Frames per second.
    pub fps: f64,
    /// Highest segment bit rate, bit/s, without audio.
    pub peak: u64,
    /// Average bit rate, bit/s, without audio.
    pub average: u64,
    /// Highest bit rate of the I-frames alone, bit/s.
    pub iframes_peak: u64,
}

const GROUP: &str = "audio";

impl Multivariant {
    /// The playlist as text.
    pub fn render(&self) -> String {
        self.render_with(&[])
    }

    /// The playlist with session data (§4.4.6.4): names and values, without quotes and line feeds in them.
    pub fn render_with(&self, session: &[(&str, &str)]) -> String {
        // No EXT-X-VERSION: nothing here needs one above 1 (§8).
        let mut out = String::from("#EXTM3U\n#EXT-X-INDEPENDENT-SEGMENTS\n");
        for (id, value) in session {
            line(&mut out, format_args!("#EXT-X-SESSION-DATA:DATA-ID=\"{id}\",VALUE=\"{value}\""));
        }
        if let Some(AudioGroup { uri, channels, .. }) = &self.audio {
            line(
                &mut out,
                format_args!(
                    "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"{GROUP}\",NAME=\"Main\",LANGUAGE=\"und\",DEFAULT=YES,\
                     AUTOSELECT=YES,CHANNELS=\"{channels}\",URI=\"{uri}\""
                ),
            );
        }
        for variant in &self.variants {
            self.write_variant(variant, &mut out);
        }
        let with_iframes = self.variants.iter().filter(|variant| !variant.iframes_uri.is_empty());
        for Variant { iframes_uri, codec, size: (width, height), iframes_peak, .. } in with_iframes {
            line(
                &mut out,
                format_args!(
                    "#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH={iframes_peak},CODECS=\"{codec}\",\
                     RESOLUTION={width}x{height},URI=\"{iframes_uri}\""
                ),
            );
        }
        out
    }

    fn write_variant(&self, variant: &Variant, out: &mut String) {
        let Variant { uri, codec, size: (width, height), fps, peak, average, .. } = variant;
        let (audio_peak, audio_average) = self.audio.as_ref().map_or((0, 0), |audio| (audio.peak, audio.average));
        let codecs = match &self.audio {
            Some(audio) => format!("{codec},{}", audio.codec),
            None => codec.clone(),
        };
        let group = if self.audio.is_some() { format!(",AUDIO=\"{GROUP}\"") } else { String::new() };
        line(
            out,
            format_args!(
                "#EXT-X-STREAM-INF:BANDWIDTH={},AVERAGE-BANDWIDTH={},CODECS=\"{codecs}\",RESOLUTION={width}x{height},\
                 FRAME-RATE={fps:.3},CLOSED-CAPTIONS=NONE{group}\n{uri}",
                peak + audio_peak,
                average + audio_average,
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_data_stand_before_the_renditions() {
        let text = Multivariant::default().render_with(&[("live360.thumbnails", "hq/thumbs.vtt")]);
        let expected = "#EXTM3U\n#EXT-X-INDEPENDENT-SEGMENTS\n\
                        #EXT-X-SESSION-DATA:DATA-ID=\"live360.thumbnails\",VALUE=\"hq/thumbs.vtt\"\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_multivariant_playlist_as_text() {
        let playlist = Multivariant {
            audio: Some(AudioGroup {
                uri: "foo/audio/index.m3u8".to_owned(),
                channels: 2,
                codec: "mp4a.40.2".to_owned(),
                peak: 130_000,
                average: 128_000,
            }),
            variants: vec![Variant {
                uri: "foo/960w/index.m3u8".to_owned(),
                iframes_uri: "foo/960w/iframes.m3u8".to_owned(),
                codec: "avc1.64001f".to_owned(),
                size: (960, 480),
                fps: 30.0,
                peak: 2_200_000,
                average: 2_000_000,
                iframes_peak: 300_000,
            }],
        };
        let expected = r#"#EXTM3U
#EXT-X-INDEPENDENT-SEGMENTS
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="Main",LANGUAGE="und",DEFAULT=YES,AUTOSELECT=YES,CHANNELS="2",URI="foo/audio/index.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=2330000,AVERAGE-BANDWIDTH=2128000,CODECS="avc1.64001f,mp4a.40.2",RESOLUTION=960x480,FRAME-RATE=30.000,CLOSED-CAPTIONS=NONE,AUDIO="audio"
foo/960w/index.m3u8
#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=300000,CODECS="avc1.64001f",RESOLUTION=960x480,URI="foo/960w/iframes.m3u8"
"#;
        assert_eq!(playlist.render(), expected);
        let (_, parsed) = m3u8_rs::parse_master_playlist(expected.as_bytes()).unwrap();
        assert_eq!(parsed.variants.len(), 2);
        let mut without = playlist;
        without.variants[0].iframes_uri.clear();
        let (kept, _) = expected.split_at(expected.find("#EXT-X-I-FRAME").unwrap());
        assert_eq!(without.render(), kept);
    }
}
