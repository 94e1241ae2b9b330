//! A block of silence, written from the syntax of `raw_data_block()` (ISO/IEC 14496-3, 4.4.2.1).
//!
//! Every channel has one long window and no scale factor band (`max_sfb` = 0), so no spectrum follows: silence needs no
//! encoder, and no table of magic bytes per layout.

use crate::bits::BitWriter;
use bytes::Bytes;

/// Syntactic elements (table 4.85).
#[derive(Clone, Copy)]
enum Element {
    /// One channel, by `element_instance_tag`.
    Single(u32),
    /// Two channels.
    Pair(u32),
    /// The effects channel; written like a single one.
    LowFrequency(u32),
}

/// `id_syn_ele` of the end.
const END: u32 = 7;

/// The elements of a channelConfiguration, in their order (table 1.19).
fn elements(channel_configuration: u8) -> &'static [Element] {
    use Element::{LowFrequency, Pair, Single};
    match channel_configuration {
        1 => &[Single(0)],
        2 => &[Pair(0)],
        3 => &[Single(0), Pair(0)],
        4 => &[Single(0), Pair(0), Single(1)],
        5 => &[Single(0), Pair(0), Pair(1)],
        6 => &[Single(0), Pair(0), Pair(1), LowFrequency(0)],
        7 => &[Single(0), Pair(0), Pair(1), Pair(2), LowFrequency(0)],
        _ => &[],
    }
}

/// A silent block for a channelConfiguration of 1 to 7.
pub(super) fn raw_data_block(channel_configuration: u8) -> Bytes {
    let mut writer = BitWriter::default();
    for &element in elements(channel_configuration) {
        match element {
            Element::Single(tag) => single(&mut writer, 0, tag),
            Element::LowFrequency(tag) => single(&mut writer, 3, tag),
            Element::Pair(tag) => pair(&mut writer, tag),
        }
    }
    writer.bits(3, END);
    writer.finish().into()
}

/// `single_channel_element()`, `lfe_channel_element()`
fn single(writer: &mut BitWriter, id: u32, tag: u32) {
    writer.bits(3, id);
    writer.bits(4, tag);
    writer.bits(8, 0); // global_gain
    ics_info(writer);
    no_tools(writer);
}

/// `channel_pair_element()` with a common window
fn pair(writer: &mut BitWriter, tag: u32) {
    writer.bits(3, 1);
    writer.bits(4, tag);
    writer.bits(1, 1); // common_window
    ics_info(writer);
    writer.bits(2, 0); // ms_mask_present
    for _ in 0..2 {
        writer.bits(8, 0); // global_gain
        no_tools(writer);
    }
}

/// `ics_info()`: one long sine window without a single scale factor band
fn ics_info(writer: &mut BitWriter) {
    writer.bits(1, 0); // ics_reserved_bit
    writer.bits(2, 0); // window_sequence: ONLY_LONG_SEQUENCE
    writer.bits(1, 0); // window_shape
    writer.bits(6, 0); // max_sfb
    writer.bits(1, 0); // predictor_data_present
}

/// `pulse_data_present`, `tns_data_present`, `gain_control_data_present`
fn no_tools(writer: &mut BitWriter) {
    writer.bits(3, 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(channel_configuration: u8, expected: &[u8]) {
        assert_eq!(raw_data_block(channel_configuration)[..], *expected, "configuration {channel_configuration}");
    }

    /// Written out by hand from the syntax: `SCE` is 29 bits, `CPE` 43, `LFE` 29, `END` 3.
    #[test]
    fn silence_has_the_bits_of_the_syntax() {
        check(1, &[0x00, 0x00, 0x00, 0x07]);
        check(2, &[0x21, 0x00, 0x00, 0x00, 0x00, 0x1C]);
        let front = [0x00, 0x00, 0x00, 0x01, 0x08, 0x00, 0x00, 0x00, 0x00];
        let back = [0x23, 0x00, 0x00, 0x00, 0x00, 0x0C, 0x00, 0x00, 0x00, 0xE0];
        check(6, &[&front[..], &back].concat());
    }
}
