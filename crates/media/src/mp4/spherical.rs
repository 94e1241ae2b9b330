//! The boxes that say how a picture lies on the sphere, twice: Google's Spherical Video V2 (`st3d`, `sv3d`), which most
//! players read, and Apple's `vexu` and `hfov`. They stand in the sample entry, behind `avcC`.

use super::boxes::{FourCc, Writer};
use crate::projection::{Layout, Projection, Stereo};

/// Who made the metadata, for `svhd`.
const METADATA_SOURCE: &[u8] = b"live360\0";

/// A quarter of the picture, as the 0.32 fixed point fraction that `equi` crops in.
const QUARTER: u32 = 0x4000_0000;

/// Writes what can be said about a layout. A flat picture for both eyes needs no words, and neither Google nor Apple
/// has any for two fisheyes side by side.
pub(super) fn write(w: &mut Writer, layout: Layout) {
    let spherical = matches!(layout.projection, Projection::Equirect | Projection::Hequ | Projection::Cubemap);
    if spherical || layout.stereo != Stereo::Mono {
        stereo_3d(w, layout.stereo);
    }
    if spherical {
        spherical_video(w, layout.projection);
    }
    if let Some(kind) = apple_projection(layout) {
        video_extended_usage(w, kind, layout.stereo);
    }
    match layout.projection {
        Projection::Equirect => field_of_view(w, 360_000),
        Projection::Hequ => field_of_view(w, 180_000),
        _ => {}
    }
}

/// `st3d`: how two eyes share the picture.
fn stereo_3d(w: &mut Writer, stereo: Stereo) {
    w.full_box(b"st3d", 0, 0, |w| {
        w.u8(match stereo {
            Stereo::Mono => 0,
            Stereo::Tb => 1,
            Stereo::Lr => 2,
        });
    });
}

/// `sv3d`: how an eye's picture maps to directions, looking straight ahead.
fn spherical_video(w: &mut Writer, projection: Projection) {
    w.boxed(b"sv3d", |w| {
        w.full_box(b"svhd", 0, 0, |w| w.bytes(METADATA_SOURCE));
        w.boxed(b"proj", |w| {
            w.full_box(b"prhd", 0, 0, |w| w.zeros(12)); // yaw, pitch, roll
            match projection {
                Projection::Cubemap => w.full_box(b"cbmp", 0, 0, |w| w.zeros(8)), // layout 0 (3 x 2), no padding
                _ => equirectangular(w, projection),
            }
        });
    });
}

/// `equi`: the part of the sphere that the picture leaves out at top, bottom, left and right.
fn equirectangular(w: &mut Writer, projection: Projection) {
    let side = if projection == Projection::Hequ { QUARTER } else { 0 };
    w.full_box(b"equi", 0, 0, |w| {
        for crop in [0, 0, side, side] {
            w.u32(crop);
        }
    });
}

/// Apple's name of a projection; `None` where there is none, or nothing to say.
fn apple_projection(layout: Layout) -> Option<&'static FourCc> {
    match layout.projection {
        Projection::Equirect => Some(b"equi"),
        Projection::Hequ => Some(b"hequ"),
        Projection::Flat if layout.stereo != Stereo::Mono => Some(b"rect"),
        Projection::Flat | Projection::Cubemap | Projection::Dfisheye => None,
    }
}

/// `vexu`: eyes, projection and, for two eyes, how they share the picture.
fn video_extended_usage(w: &mut Writer, projection: &FourCc, stereo: Stereo) {
    const BOTH_EYES: u8 = 0b11;
    let packing: Option<&FourCc> = match stereo {
        Stereo::Mono => None,
        Stereo::Tb => Some(b"over"),
        Stereo::Lr => Some(b"side"),
    };
    w.boxed(b"vexu", |w| {
        if packing.is_some() {
            w.boxed(b"eyes", |w| w.full_box(b"stri", 0, 0, |w| w.u8(BOTH_EYES)));
        }
        w.boxed(b"proj", |w| w.full_box(b"prji", 0, 0, |w| w.bytes(projection)));
        if let Some(kind) = packing {
            w.boxed(b"pack", |w| w.full_box(b"pkin", 0, 0, |w| w.bytes(kind)));
        }
    });
}

/// `hfov`: what an eye's picture spans across, in thousandths of a degree.
fn field_of_view(w: &mut Writer, millidegrees: u32) {
    w.boxed(b"hfov", |w| w.u32(millidegrees));
}
