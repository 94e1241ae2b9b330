//! How a picture lies on the sphere, and how two eyes share it.
//!
//! Names only; the boxes that say so are in [`crate::mp4`], and the choice between config, query and metadata is the
//! origin's.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How the picture maps to directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Projection {
    /// The whole sphere, longitude × latitude.
    #[default]
    Equirect,
    /// The front half, longitude × latitude.
    Hequ,
    /// Two fisheye circles side by side.
    Dfisheye,
    /// Six faces, 3 × 2: right left up / down front back.
    Cubemap,
    /// An ordinary picture.
    Flat,
}

/// How two eyes share the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stereo {
    /// One picture for both.
    #[default]
    Mono,
    /// Left eye on top.
    Tb,
    /// Left eye on the left.
    Lr,
}

/// A picture's place on the sphere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Layout {
    /// How it maps to directions.
    pub projection: Projection,
    /// How two eyes share it.
    pub stereo: Stereo,
}

impl fmt::Display for Projection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Equirect => "equirect",
            Self::Hequ => "hequ",
            Self::Dfisheye => "dfisheye",
            Self::Cubemap => "cubemap",
            Self::Flat => "flat",
        })
    }
}

impl fmt::Display for Stereo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mono => "mono",
            Self::Tb => "tb",
            Self::Lr => "lr",
        })
    }
}

impl std::str::FromStr for Projection {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Ok(match text {
            "equirect" => Self::Equirect,
            "hequ" => Self::Hequ,
            "dfisheye" => Self::Dfisheye,
            "cubemap" => Self::Cubemap,
            "flat" => Self::Flat,
            _ => return Err(()),
        })
    }
}

impl std::str::FromStr for Stereo {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Ok(match text {
            "mono" => Self::Mono,
            "tb" => Self::Tb,
            "lr" => Self::Lr,
            _ => return Err(()),
        })
    }
}
