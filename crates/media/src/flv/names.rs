//! What codecs are called, so that an encoder's log says which one was refused. Decides nothing.

/// Names of the old header's CodecID (FLV 10.1, E.4.3.1), and of two that others have squatted.
pub(super) fn old_video_codec(id: u8) -> String {
    match id {
        2 => "Sorenson H.263 video".into(),
        3 | 6 => "Screen video".into(),
        4 | 5 => "VP6 video".into(),
        12 => "H.265 video".into(),
        13 => "AV1 video".into(),
        _ => format!("FLV video codec {id}"),
    }
}

/// Names of the old header's SoundFormat (FLV 10.1, E.4.2.1).
pub(super) fn old_audio_codec(id: u8) -> String {
    match id {
        0 | 3 => "PCM audio".into(),
        1 => "ADPCM audio".into(),
        2 | 14 => "MP3 audio".into(),
        4..=6 => "Nellymoser audio".into(),
        7 | 8 => "G.711 audio".into(),
        11 => "Speex audio".into(),
        13 => "Opus audio".into(),
        _ => format!("FLV audio codec {id}"),
    }
}

/// Names of Enhanced RTMP's FourCCs.
pub(super) fn enhanced_codec(code: [u8; 4]) -> String {
    match &code {
        b"avc1" => "H.264 video where audio belongs".into(),
        b"hvc1" => "H.265 video".into(),
        b"vvc1" => "H.266 video".into(),
        b"av01" => "AV1 video".into(),
        b"vp08" => "VP8 video".into(),
        b"vp09" => "VP9 video".into(),
        b"mp4a" => "AAC audio where video belongs".into(),
        b"Opus" => "Opus audio".into(),
        b"fLaC" => "FLAC audio".into(),
        b"ac-3" => "AC-3 audio".into(),
        b"ec-3" => "E-AC-3 audio".into(),
        b".mp3" => "MP3 audio".into(),
        _ => format!("The codec {:?}", code.escape_ascii().to_string()),
    }
}
