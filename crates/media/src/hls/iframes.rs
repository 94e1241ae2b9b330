//! A rung's I-frame playlist: one byte range a segment, the first chunk, which holds just the IDR (§4.4.3.6).
//!
//! There is none of protected segments: they are encrypted as a whole, and no part of one can be decrypted by itself.

use super::media::{InForce, MediaPlaylist, line};

/// The I-frame playlist that goes with a media playlist.
pub fn iframes(media: &MediaPlaylist) -> String {
    write(media, false)
}

/// The one that goes with [`MediaPlaylist::render_vod`]: all playlists of a recording are of one type (§6.2.4).
pub fn iframes_vod(media: &MediaPlaylist) -> String {
    write(media, true)
}

fn write(media: &MediaPlaylist, vod: bool) -> String {
    let mut out = String::with_capacity(256 + 120 * media.segments.len());
    // EXT-X-MAP needs version 5 here, where EXT-X-I-FRAMES-ONLY stands (§8).
    line(&mut out, format_args!("#EXTM3U\n#EXT-X-VERSION:5\n#EXT-X-TARGETDURATION:{}", media.target_s));
    if vod {
        line(&mut out, format_args!("#EXT-X-PLAYLIST-TYPE:VOD"));
    }
    line(&mut out, format_args!("#EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-I-FRAMES-ONLY"));
    if !media.ended {
        media.write_server_control(&mut out);
    }
    media.write_sequences(&mut out);
    media.past.write_iframes(&mut out);
    let mut in_force = InForce { map: media.past.map(), key: media.past.key() };
    for segment in &media.segments {
        segment.write_head(&mut out, &mut in_force);
        if segment.gap {
            line(&mut out, format_args!("#EXT-X-GAP"));
        }
        line(&mut out, format_args!("#EXTINF:{:.6},", segment.seconds));
        line(&mut out, format_args!("#EXT-X-BYTERANGE:{}@0\n{}", segment.first_chunk, segment.uri));
    }
    if media.ended {
        line(&mut out, format_args!("#EXT-X-ENDLIST"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hls::Segment;

    #[test]
    fn each_segment_gives_its_first_chunk() {
        let segment = Segment {
            uri: "7.m4s".to_owned(),
            seconds: 2.0,
            map: "init-00.mp4".to_owned(),
            first_chunk: 4321,
            ..Segment::default()
        };
        let media =
            MediaPlaylist { target_s: 2, media_sequence: 7, segments: vec![segment], ..MediaPlaylist::default() };
        let text = iframes(&media);
        assert!(text.contains("#EXT-X-I-FRAMES-ONLY\n"), "{text}");
        assert!(text.contains("#EXTINF:2.000000,\n#EXT-X-BYTERANGE:4321@0\n7.m4s\n"), "{text}");
        assert!(text.contains("#EXT-X-MAP:URI=\"init-00.mp4\"\n"), "{text}");
        assert!(!text.contains("PLAYLIST-TYPE") && iframes_vod(&media).contains("\n#EXT-X-PLAYLIST-TYPE:VOD\n"));
    }
}
