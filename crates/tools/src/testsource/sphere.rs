//! Where a pixel of an equirectangular picture looks, and flat signs hung up in the sphere.
//!
//! Pure geometry: x to the right, y up, z to the front. Longitude 0 (front) is the middle column, 90° (right) three
//! quarters across; latitude 90° (up) is the top row.

use super::font;
use std::f64::consts::PI;

/// A direction, of length 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Direction {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) z: f64,
}

/// Longitude in radians, −π to π, of the point `across` (0 to 1) from the left edge.
pub(super) fn longitude(across: f64) -> f64 {
    (across * 2.0 - 1.0) * PI
}

/// Latitude in radians, π/2 to −π/2, of the point `down` (0 to 1) from the top edge.
pub(super) fn latitude(down: f64) -> f64 {
    (0.5 - down) * PI
}

impl Direction {
    pub(super) const FRONT: Self = Self { x: 0.0, y: 0.0, z: 1.0 };
    pub(super) const BACK: Self = Self { x: 0.0, y: 0.0, z: -1.0 };
    pub(super) const RIGHT: Self = Self { x: 1.0, y: 0.0, z: 0.0 };
    pub(super) const LEFT: Self = Self { x: -1.0, y: 0.0, z: 0.0 };
    pub(super) const UP: Self = Self { x: 0.0, y: 1.0, z: 0.0 };
    pub(super) const DOWN: Self = Self { x: 0.0, y: -1.0, z: 0.0 };

    /// From angles in radians.
    pub(super) fn of(longitude: f64, latitude: f64) -> Self {
        let (sin, cos) = latitude.sin_cos();
        Self { x: cos * longitude.sin(), y: sin, z: cos * longitude.cos() }
    }

    pub(super) fn dot(self, other: Self) -> f64 {
        self.x * other.x + self.y * other.y + self.z * other.z
    }
}

/// A line of text on a plane that touches the sphere: seen from the inside in that direction, it is undistorted.
/// Lengths on the plane are tangents of angles from the point it touches.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sign {
    /// Where the plane touches.
    towards: Direction,
    /// What is right and up for somebody who reads it.
    right: Direction,
    up: Direction,
    /// Height of the text's middle above the point it touches.
    middle: f64,
    /// Height of a letter.
    size: f64,
    letters: u32,
}

/// A place on a sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spot {
    /// The margin around the letters, or between them.
    Plate,
    /// A dot of a letter.
    Dot { letter: u32, column: u32, row: u32 },
}

impl Sign {
    pub(super) fn new(
        towards: Direction,
        right: Direction,
        up: Direction,
        middle: f64,
        size: f64,
        letters: u32,
    ) -> Self {
        Self { towards, right, up, middle, size, letters }
    }

    /// What somebody who looks in this direction sees of the sign.
    pub(super) fn at(&self, direction: Direction) -> Option<Spot> {
        let depth = direction.dot(self.towards);
        // Behind, or so far off that tangents grow without bounds.
        if depth < 0.2 {
            return None;
        }
        let dot = self.size / f64::from(font::ROWS);
        let columns = self.letters * (font::COLUMNS + 1);
        let from_left = direction.dot(self.right) / depth / dot + f64::from(columns - 1) / 2.0;
        let from_top = (self.middle - direction.dot(self.up) / depth) / dot + f64::from(font::ROWS) / 2.0;
        let inside = |value: f64, length: u32| (-1.0..f64::from(length) + 1.0).contains(&value);
        if !inside(from_left, columns - 1) || !inside(from_top, font::ROWS) {
            return None;
        }
        let (column, row) = (from_left.floor(), from_top.floor());
        if column < 0.0 || row < 0.0 || column >= f64::from(columns) || row >= f64::from(font::ROWS) {
            return Some(Spot::Plate);
        }
        let (column, row) = (column as u32, row as u32);
        let letter = column / (font::COLUMNS + 1);
        Some(Spot::Dot { letter, column: column % (font::COLUMNS + 1), row })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(across: f64, down: f64, expected: Direction) {
        let got = Direction::of(longitude(across), latitude(down));
        assert!(got.dot(expected) > 0.999_999, "{across},{down}: {got:?}");
    }

    #[test]
    fn the_middle_is_front_and_the_right_half_is_right() {
        check(0.5, 0.5, Direction::FRONT);
        check(0.75, 0.5, Direction::RIGHT);
        check(0.25, 0.5, Direction::LEFT);
        check(0.0, 0.5, Direction::BACK);
        check(0.5, 0.0, Direction::UP);
        check(0.5, 1.0, Direction::DOWN);
    }

    fn sign() -> Sign {
        Sign::new(Direction::FRONT, Direction::RIGHT, Direction::UP, 0.0, 0.7, 3)
    }

    /// What is seen through a point of a flat window one unit ahead.
    fn through_window(right: f64, up: f64) -> Option<Spot> {
        let length = (1.0 + right * right + up * up).sqrt();
        sign().at(Direction { x: right / length, y: up / length, z: 1.0 / length })
    }

    #[test]
    fn letters_stand_on_a_regular_grid_of_the_window() {
        // Dots of 0.1; 17 columns from −0.85 to 0.85, 7 rows from 0.35 to −0.35.
        let dot = |letter, column, row| Some(Spot::Dot { letter, column, row });
        assert_eq!(through_window(-0.84, 0.34), dot(0, 0, 0));
        assert_eq!(through_window(-0.36, -0.34), dot(0, 4, 6));
        assert_eq!(through_window(0.0, 0.0), dot(1, 2, 3));
        assert_eq!(through_window(0.84, -0.34), dot(2, 4, 6));
        assert_eq!(through_window(-0.9, 0.4), Some(Spot::Plate));
        assert_eq!(through_window(-1.0, 0.0), None);
        assert_eq!(through_window(0.0, 0.5), None);
    }

    #[test]
    fn a_sign_is_not_seen_from_behind() {
        assert_eq!(sign().at(Direction::BACK), None);
        assert_eq!(sign().at(Direction::RIGHT), None);
    }
}
