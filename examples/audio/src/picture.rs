use crate::{Clip, Error};
use core::convert::Infallible;
use embedded_graphics::mono_font::{MonoTextStyle, ascii::FONT_9X18_BOLD};
use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::{Line, PrimitiveStyle, Rectangle};
use embedded_graphics::text::Text;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

const WIDTH: u32 = 1000;
const TRACK: u32 = 140;
const TITLE: u32 = 26;
const PAPER: Rgb888 = Rgb888::new(250, 250, 247);
const INK: Rgb888 = Rgb888::new(40, 44, 52);
const WAVES: [Rgb888; 2] = [Rgb888::new(36, 99, 165), Rgb888::new(191, 87, 0)];

/// Draws recordings below each other on one time line, as a PNG file. Every one has a title; times are in seconds.
///
/// # Errors
/// The file cannot be written.
pub fn draw_waveforms(path: &Path, tracks: &[(&str, &Clip)]) -> Result<(), Error> {
    let seconds = tracks.iter().map(|(_, clip)| clip.seconds()).fold(0.1, f64::max);
    let height = (TRACK + TITLE) * tracks.len() as u32 + TITLE;
    let mut canvas = Canvas { pixels: vec![0; (WIDTH * height * 3) as usize], height };
    let Ok(()) = paint(&mut canvas, tracks, seconds);
    let about = |error: png::EncodingError| Error::File { path: path.into(), reason: error.to_string() };
    let file = File::create(path).map_err(|error| about(error.into()))?;
    let mut encoder = png::Encoder::new(BufWriter::new(file), WIDTH, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().map_err(about)?;
    writer.write_image_data(&canvas.pixels).map_err(about)?;
    writer.finish().map_err(about)
}

fn paint(canvas: &mut Canvas, tracks: &[(&str, &Clip)], seconds: f64) -> Result<(), Infallible> {
    canvas.clear(PAPER)?;
    let text = MonoTextStyle::new(&FONT_9X18_BOLD, INK);
    for (index, (title, clip)) in tracks.iter().enumerate() {
        let top = (TRACK + TITLE) as i32 * index as i32;
        let (middle, half) = (top + TITLE as i32 + TRACK as i32 / 2, TRACK as i32 / 2 - 2);
        Text::new(title, Point::new(8, top + 18), text).draw(canvas)?;
        let area = Rectangle::new(Point::new(0, top + TITLE as i32), Size::new(WIDTH, TRACK));
        area.into_styled(PrimitiveStyle::with_fill(Rgb888::WHITE)).draw(canvas)?;
        let style = PrimitiveStyle::with_stroke(WAVES[index % WAVES.len()], 1);
        let mono = clip.mono();
        let per_column = seconds * f64::from(clip.rate) / f64::from(WIDTH);
        for x in 0..WIDTH as i32 {
            let from = (f64::from(x) * per_column) as usize;
            let to = ((f64::from(x + 1) * per_column) as usize).max(from + 1).min(mono.samples.len());
            let Some(column) = mono.samples.get(from..to).filter(|column| !column.is_empty()) else {
                continue;
            };
            let y = |sample: f64| middle - (sample.clamp(-1.0, 1.0) * f64::from(half)) as i32;
            let low = column.iter().copied().fold(f64::INFINITY, f64::min);
            let high = column.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            Line::new(Point::new(x, y(high)), Point::new(x, y(low))).into_styled(style).draw(canvas)?;
        }
    }
    let bottom = canvas.height as i32 - 8;
    for second in 0..=seconds as i32 {
        let x = (f64::from(second) / seconds * f64::from(WIDTH)) as i32;
        Text::new(&format!("{second}s"), Point::new(x + 2, bottom), text).draw(canvas)?;
    }
    Ok(())
}

/// Pixels in memory, three bytes each.
struct Canvas {
    pixels: Vec<u8>,
    height: u32,
}

impl OriginDimensions for Canvas {
    fn size(&self) -> Size {
        Size::new(WIDTH, self.height)
    }
}

impl DrawTarget for Canvas {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        for Pixel(Point { x, y }, colour) in pixels {
            let inside = (0..WIDTH as i32).contains(&x) && (0..self.height as i32).contains(&y);
            if inside {
                let at = (y as usize * WIDTH as usize + x as usize) * 3;
                self.pixels[at..at + 3].copy_from_slice(&[colour.r(), colour.g(), colour.b()]);
            }
        }
        Ok(())
    }
}
