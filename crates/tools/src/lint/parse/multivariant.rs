//! Multivariant playlists (RFC 8216bis §4.4.6).

use super::{Attributes, Common, Item, Tag, items, short};

/// A multivariant playlist.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Multivariant {
    /// What both kinds have.
    pub common: Common,
    /// EXT-X-STREAM-INF with its address.
    pub variants: Vec<Variant>,
    /// EXT-X-I-FRAME-STREAM-INF.
    pub iframes: Vec<Tag>,
    /// EXT-X-MEDIA.
    pub media: Vec<Tag>,
    /// EXT-X-CONTENT-STEERING.
    pub steering: Option<Tag>,
}

/// A variant stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    /// Line of EXT-X-STREAM-INF.
    pub line: u32,
    /// Its attributes.
    pub attributes: Attributes,
    /// Its address, as written.
    pub uri: String,
}

impl Variant {
    /// Whether it has a picture, as far as the playlist says: CODECS names one, or nothing denies it.
    pub fn has_video(&self) -> bool {
        let Some(codecs) = self.attributes.get("CODECS") else { return true };
        codecs.split(',').any(|codec| is_video_codec(codec.trim())) || self.attributes.get("RESOLUTION").is_some()
    }

    /// Whether it has sound, as far as CODECS says.
    pub fn has_audio(&self) -> bool {
        let codecs = self.attributes.get("CODECS").unwrap_or("");
        codecs
            .split(',')
            .any(|codec| !codec.trim().is_empty() && !is_video_codec(codec.trim()) && !is_text_codec(codec.trim()))
    }
}

/// Whether a codec string (RFC 6381) is one of a picture.
pub(crate) fn is_video_codec(codec: &str) -> bool {
    let kind = codec.split('.').next().unwrap_or("");
    ["avc1", "avc3", "hvc1", "hev1", "dvh1", "dvhe", "dvav", "av01", "dav1", "vp08", "vp09", "vvc1", "mp4v", "mjpg"]
        .contains(&kind)
}

fn is_text_codec(codec: &str) -> bool {
    ["wvtt", "stpp"].contains(&codec.split('.').next().unwrap_or(""))
}

impl Multivariant {
    pub(super) fn parse(text: &str) -> Self {
        let mut playlist = Self::default();
        let lines = items(text, &mut playlist.common);
        let mut waiting: Option<Tag> = None;
        for (line, item) in lines {
            match item {
                Item::Uri(uri) => match waiting.take() {
                    Some(tag) => playlist.variants.push(Variant {
                        line: tag.line,
                        attributes: tag.attributes,
                        uri: uri.to_owned(),
                    }),
                    None => playlist.common.fault(line, format!("{} has no EXT-X-STREAM-INF", short(uri))),
                },
                Item::Tag(name, value) => {
                    if let Some(tag) = waiting.take() {
                        playlist.common.fault(tag.line, "EXT-X-STREAM-INF is not followed by its address".to_owned());
                    }
                    if name == "#EXT-X-STREAM-INF" {
                        waiting = Some(playlist.common.tag(line, name, value));
                    } else {
                        playlist.tag(line, name, value);
                    }
                }
            }
        }
        if let Some(tag) = waiting {
            playlist.common.fault(tag.line, "EXT-X-STREAM-INF is not followed by its address".to_owned());
        }
        playlist
    }

    fn tag(&mut self, line: u32, name: &str, value: &str) {
        match name {
            "#EXT-X-I-FRAME-STREAM-INF" => {
                let tag = self.common.tag(line, name, value);
                self.iframes.push(tag);
            }
            "#EXT-X-MEDIA" => {
                let tag = self.common.tag(line, name, value);
                self.media.push(tag);
            }
            "#EXT-X-CONTENT-STEERING" => self.steering = Some(self.common.tag(line, name, value)),
            _ => self.common.take(line, name, value),
        }
    }

    /// The EXT-X-MEDIA tags of a type and group.
    pub fn group<'a>(&'a self, kind: &'a str, group: &'a str) -> impl Iterator<Item = &'a Tag> {
        let is = |tag: &&Tag| tag.attributes.get("TYPE") == Some(kind) && tag.attributes.get("GROUP-ID") == Some(group);
        self.media.iter().filter(is)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_keep_their_address_and_line() {
        let playlist = Multivariant::parse(
            "#EXTM3U\n#EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"x\",URI=\"a.m3u8\"\n\
             #EXT-X-STREAM-INF:BANDWIDTH=1,CODECS=\"avc1.640028,mp4a.40.2\",AUDIO=\"a\"\nv.m3u8\n\
             #EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=1,URI=\"i.m3u8\"\n",
        );
        assert_eq!(playlist.common.faults, []);
        assert_eq!(playlist.common.independent, Some(2));
        let variant = playlist.variants.first().unwrap();
        assert_eq!((variant.line, variant.uri.as_str()), (4, "v.m3u8"));
        assert!(variant.has_video() && variant.has_audio());
        assert_eq!(playlist.group("AUDIO", "a").count(), 1);
        assert_eq!(playlist.group("AUDIO", "b").count(), 0);
        assert_eq!(playlist.iframes.len(), 1);
    }

    #[test]
    fn what_codecs_names_tells_picture_from_sound() {
        for (codecs, video, audio) in
            [("avc1.640028", true, false), ("mp4a.40.2", false, true), ("hvc1.1.2,ec-3,wvtt", true, true)]
        {
            let text = format!("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1,CODECS=\"{codecs}\"\nv\n");
            let playlist = Multivariant::parse(&text);
            let variant = playlist.variants.first().unwrap();
            assert_eq!((variant.has_video(), variant.has_audio()), (video, audio), "{codecs}");
        }
    }

    #[test]
    fn tags_and_addresses_that_have_lost_each_other_are_faults() {
        for (text, line) in [
            ("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n#EXT-X-VERSION:3\nv\n", 2),
            ("#EXTM3U\nv.m3u8\n", 2),
            ("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n", 2),
        ] {
            assert_eq!(Multivariant::parse(text).common.faults.first().map(|f| f.line), Some(line), "{text:?}");
        }
    }
}
