//! The part of the test picture that never moves: bars, grid, horizon and the names of the directions.
//!
//! Everything is laid out on the sphere. Bars are bounded by meridians, so that in a viewer their edges are straight
//! vertical lines; the horizon is straight, too. One colour per direction; each pixel is the mean of four samples.

use super::font;
use super::sphere::{Direction, Sign, Spot, latitude, longitude};
use codec::picture::Picture;
use std::f64::consts::PI;

/// Red, green, blue, 0 to 1.
type Rgb = [f64; 3];

/// Bars from 22.5° left of front to the right, 45° each, at 75 %: front is grey, right yellow, back green, left red.
const BARS: [Rgb; 8] = [
    [0.75, 0.75, 0.75],
    [0.4, 0.55, 0.75],
    [0.75, 0.75, 0.0],
    [0.0, 0.75, 0.75],
    [0.0, 0.75, 0.0],
    [0.75, 0.0, 0.75],
    [0.75, 0.0, 0.0],
    [0.0, 0.0, 0.75],
];

/// Above and below this latitude there are no bars, in radians (45°).
const BARS_TO: f64 = PI / 4.0;
/// Meridians and parallels of the grid are this far apart, in radians (15°).
const GRID: f64 = PI / 12.0;
/// Meridians stop here, where they would run together (75°).
const GRID_TO: f64 = 5.0 * PI / 12.0;
/// Half the thickness of a grid line in radians (0.12°), if that is more than half a pixel.
const LINE: f64 = 0.12 * PI / 180.0;
/// Half the thickness of the horizon in radians (0.35°), and of the dark edges around it.
const HORIZON: f64 = 0.35 * PI / 180.0;
const HORIZON_EDGE: f64 = 0.7 * PI / 180.0;

const PLATE: Rgb = [0.1, 0.1, 0.12];
const INK: Rgb = [1.0, 1.0, 1.0];

/// Samples of a pixel in each direction.
const SAMPLES: usize = 2;

/// The names and where they hang: direction, what is right and up for the reader, height of their middle, letter size.
fn signs() -> [(Sign, &'static str); 6] {
    use Direction as D;
    let sign = |text: &'static str, towards, right, up, middle, size| {
        (Sign::new(towards, right, up, middle, size, text.len() as u32), text)
    };
    [
        sign("FRONT", D::FRONT, D::RIGHT, D::UP, 0.42, 0.2),
        sign("RIGHT", D::RIGHT, D::BACK, D::UP, 0.25, 0.2),
        sign("BACK", D::BACK, D::LEFT, D::UP, 0.25, 0.2),
        sign("LEFT", D::LEFT, D::FRONT, D::UP, 0.25, 0.2),
        // Read by somebody who looks up, or down, from front.
        sign("UP", D::UP, D::RIGHT, D::BACK, 0.0, 0.25),
        sign("DOWN", D::DOWN, D::RIGHT, D::FRONT, 0.0, 0.25),
    ]
}

/// Draws it all.
pub(super) fn draw(picture: &mut Picture) -> Result<(), codec::Error> {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let signs = signs();
    let line = LINE.max(PI / width as f64);
    let mut chroma = vec![[0.0; 2]; width / 2 * (height / 2)];
    let (luma, stride) = picture.plane_mut(0)?;
    for y in 0..height {
        for x in 0..width {
            let [bright, blue, red] = ycbcr(pixel(x, y, width, height, line, &signs));
            if let Some(to) = luma.get_mut(y * stride + x) {
                *to = bright.round() as u8;
            }
            if let Some(sum) = chroma.get_mut(y / 2 * (width / 2) + x / 2) {
                *sum = [sum[0] + blue / 4.0, sum[1] + red / 4.0];
            }
        }
    }
    for plane in [1, 2] {
        let (samples, stride) = picture.plane_mut(plane)?;
        for (line, values) in samples.chunks_mut(stride).zip(chroma.chunks(width / 2)) {
            for (to, value) in line.iter_mut().zip(values) {
                *to = value[plane - 1].round() as u8;
            }
        }
    }
    Ok(())
}

/// The mean of a pixel's samples.
fn pixel(x: usize, y: usize, width: usize, height: usize, line: f64, signs: &[(Sign, &str)]) -> Rgb {
    let mut sum = [0.0; 3];
    for sample in 0..SAMPLES * SAMPLES {
        let inside = |index: usize| (index as f64 + 0.5) / SAMPLES as f64;
        let longitude = longitude((x as f64 + inside(sample % SAMPLES)) / width as f64);
        let latitude = latitude((y as f64 + inside(sample / SAMPLES)) / height as f64);
        let colour = colour(longitude, latitude, line, signs);
        sum.iter_mut().zip(colour).for_each(|(sum, part)| *sum += part / (SAMPLES * SAMPLES) as f64);
    }
    sum
}

fn colour(longitude: f64, latitude: f64, line: f64, signs: &[(Sign, &str)]) -> Rgb {
    let direction = Direction::of(longitude, latitude);
    for (sign, text) in signs {
        match sign.at(direction) {
            None => {}
            Some(Spot::Plate) => return PLATE,
            Some(Spot::Dot { letter, column, row }) => {
                let letter = text.chars().nth(letter as usize).unwrap_or(' ');
                return if font::inked(letter, column, row) { INK } else { PLATE };
            }
        }
    }
    // A line is half a pixel at least, the horizon a whole one on either side.
    if latitude.abs() < HORIZON.max(2.0 * line) {
        return INK;
    }
    if latitude.abs() < HORIZON_EDGE.max(4.0 * line) {
        return PLATE;
    }
    let background = background(longitude, latitude);
    // Distances on the sphere: meridians draw closer towards the poles.
    let to_meridian = from_multiple(longitude, GRID) * latitude.cos();
    let meridian = to_meridian < line && latitude.abs() < GRID_TO;
    if meridian || from_multiple(latitude, GRID) < line { background.map(|part| part * 0.35) } else { background }
}

/// Bars around the horizon, a sky above that is brightest at the top, ground below that is darkest at the bottom.
fn background(longitude: f64, latitude: f64) -> Rgb {
    if latitude.abs() <= BARS_TO {
        let bar = (longitude / (PI / 4.0) + 0.5).rem_euclid(8.0).floor();
        return BARS.get(bar as usize).copied().unwrap_or(PLATE);
    }
    let towards_pole = (latitude.abs() - BARS_TO) / (PI / 2.0 - BARS_TO);
    if latitude > 0.0 {
        [0.35 + 0.3 * towards_pole, 0.55 + 0.3 * towards_pole, 0.9]
    } else {
        [0.45 - 0.25 * towards_pole, 0.32 - 0.2 * towards_pole, 0.2 - 0.12 * towards_pole]
    }
}

fn from_multiple(value: f64, step: f64) -> f64 {
    (value - (value / step).round() * step).abs()
}

/// BT.709, studio range.
fn ycbcr([red, green, blue]: Rgb) -> [f64; 3] {
    let luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    [16.0 + 219.0 * luma, 128.0 + 224.0 * (blue - luma) / 1.8556, 128.0 + 224.0 * (red - luma) / 1.5748]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(longitude_deg: f64, latitude_deg: f64) -> Rgb {
        colour(longitude_deg.to_radians(), latitude_deg.to_radians(), LINE, &signs())
    }

    #[test]
    fn each_direction_has_its_colour() {
        let check = |longitude, expected| assert_eq!(at(longitude, -20.0), expected, "{longitude}°");
        check(5.0, BARS[0]);
        check(-20.0, BARS[0]);
        check(50.0, BARS[1]);
        check(95.0, BARS[2]);
        check(170.0, BARS[4]);
        check(-170.0, BARS[4]);
        check(-95.0, BARS[6]);
        assert!(at(5.0, 50.0)[2] > at(5.0, -50.0)[2], "the sky is bluer than the ground");
    }

    #[test]
    fn the_horizon_is_white_all_around_and_meridians_are_dark() {
        for longitude in (-180..180).step_by(7) {
            assert_eq!(at(f64::from(longitude), 0.0), INK);
        }
        assert_eq!(at(30.0, -20.0), BARS[1].map(|part| part * 0.35));
    }

    #[test]
    fn names_hang_where_they_belong() {
        // The stem of a letter in the first column of dots, in the middle of its height: F, R, B, L have one.
        for (longitude, letters, middle) in
            [(0.0, 5.0, 0.42), (90.0, 5.0, 0.25), (180.0, 4.0, 0.25), (-90.0, 4.0, 0.25)]
        {
            let left = (letters * 6.0 - 1.0) / 2.0 - 0.5;
            let (across, up): (f64, f64) = (-left * 0.2 / 7.0, middle);
            let turned = across.atan().to_degrees();
            let risen = (up / (1.0 + across * across).sqrt()).atan().to_degrees();
            assert_eq!(at(longitude + turned, risen), INK, "{longitude}°");
        }
        assert_eq!(at(0.0, 89.9), PLATE, "between U and P");
    }

    #[test]
    fn colours_become_studio_range_video() {
        let near = |rgb, expected: [f64; 3]| {
            let got = ycbcr(rgb);
            assert!(got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 0.6), "{got:?}");
        };
        near([1.0, 1.0, 1.0], [235.0, 128.0, 128.0]);
        near([0.0, 0.0, 0.0], [16.0, 128.0, 128.0]);
        near([0.75, 0.0, 0.0], [51.0, 109.0, 212.0]);
    }

    #[test]
    fn drawing_fills_every_plane() {
        let mut picture = Picture::new(160, 80).unwrap();
        draw(&mut picture).unwrap();
        let (luma, stride) = picture.plane(0);
        assert!(luma[40 * stride + 30] > 200, "the horizon");
        assert_ne!(picture.plane(1).0[20 * picture.plane(1).1 + 10], 128, "a colour");
    }
}
