//! Draws the model: 40 columns and 10 lines are enough for all of it, and less for most.

mod people;

use super::model::{Kind, Model};
use core::time::Duration;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Position, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

/// From so many columns on, people and messages stand side by side.
const SIDE_BY_SIDE: u16 = 120;

/// How things look; without colours, brightness tells them apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Theme {
    pub(super) colours: bool,
}

impl Theme {
    fn colour(self, colour: Color, otherwise: Modifier) -> Style {
        if self.colours { Style::new().fg(colour) } else { Style::new().add_modifier(otherwise) }
    }

    fn of(self, kind: Kind) -> Style {
        match kind {
            Kind::Event => Style::new(),
            Kind::Message => self.colour(Color::Cyan, Modifier::BOLD),
            Kind::Problem => self.colour(Color::Red, Modifier::BOLD),
            Kind::Typed => Style::new().add_modifier(Modifier::DIM),
        }
    }

    fn level(self) -> Style {
        self.colour(Color::Green, Modifier::BOLD)
    }
}

const DIM: Style = Style::new().add_modifier(Modifier::DIM);

/// Draws all of it; returns how many lines of what has happened are seen.
pub(super) fn draw(frame: &mut Frame<'_>, model: &Model, theme: Theme) -> usize {
    let width = usize::from(frame.area().width);
    let mut head = vec![title(model, width)];
    head.extend(levels(model, width, theme));
    head.extend(connection(model, width));
    let hints = frame.area().height > 6;
    let [top, body, line, hint] = Layout::vertical([
        Constraint::Length(head.len() as u16),
        Constraint::Fill(1),
        Constraint::Length(1),
        Constraint::Length(u16::from(hints)),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(head), top);
    let seen = draw_body(frame, body, model, theme);
    draw_command_line(frame, line, model);
    frame.render_widget(Paragraph::new(hint_of(model, width)), hint);
    seen
}

fn draw_body(frame: &mut Frame<'_>, body: Rect, model: &Model, theme: Theme) -> usize {
    if model.people.len() == 0 {
        return draw_lines(frame, body, model, theme);
    }
    if body.width >= SIDE_BY_SIDE {
        let parts = [Constraint::Percentage(55), Constraint::Length(1), Constraint::Fill(1)];
        let [left, _, right] = Layout::horizontal(parts).areas(body);
        let people = people::lines(&model.people, left.width.into(), left.height.into(), theme);
        frame.render_widget(Paragraph::new(people), left);
        return draw_lines(frame, right, model, theme);
    }
    let people = people::lines(&model.people, body.width.into(), usize::from(body.height / 2), theme);
    let parts = [Constraint::Length(people.len() as u16), Constraint::Fill(1)];
    let [top, rest] = Layout::vertical(parts).areas(body);
    frame.render_widget(Paragraph::new(people), top);
    draw_lines(frame, rest, model, theme)
}

/// A line across, with a name.
pub(super) fn rule(name: &str, width: usize) -> Line<'static> {
    let rest = width.saturating_sub(name.chars().count() + 4);
    Line::styled(cut(&format!("── {name} {}", "─".repeat(rest)), width), DIM)
}

/// As much of the text as fits into so many columns.
pub(super) fn cut(text: &str, width: usize) -> String {
    if Span::raw(text).width() <= width {
        return text.to_owned();
    }
    let (mut shown, mut columns) = (String::new(), 0);
    for c in text.chars() {
        columns += Span::raw(c.to_string()).width();
        if columns >= width {
            break;
        }
        shown.push(c);
    }
    shown + if width > 0 { "…" } else { "" }
}

/// The same in exactly so many columns.
pub(super) fn fit(text: &str, width: usize) -> String {
    let shown = cut(text, width);
    let blanks = width.saturating_sub(Span::raw(shown.as_str()).width());
    shown + &" ".repeat(blanks)
}

fn title(model: &Model, width: usize) -> Line<'static> {
    let clock = model.lasted.map(clock).unwrap_or_default();
    let state = model.talk.state().map(|state| format!(" {} ", state.to_uppercase())).unwrap_or_default();
    let rest = width.saturating_sub(state.len() + clock.len() + 1);
    let style = Style::new().add_modifier(Modifier::REVERSED);
    Line::styled(format!("{}{state}{clock} ", fit(&format!(" {}", model.title), rest)), style)
}

fn clock(lasted: Duration) -> String {
    let seconds = lasted.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes:02}:{seconds:02}")
    }
}

/// How loud both sides are.
fn levels(model: &Model, width: usize, theme: Theme) -> Option<Line<'static>> {
    model.lasted?;
    let each = (width / 2).saturating_sub(6).min(30);
    let side = |name: &str, past: &super::people::Past| {
        [Span::raw(name.to_owned()), Span::styled(past.bars(each, 1.0), theme.level())]
    };
    let [out, heard] = &model.levels;
    Some(Line::from_iter(side("out ", out).into_iter().chain(side("  in ", heard))))
}

/// What is known of the connection.
fn connection(model: &Model, width: usize) -> Option<Line<'static>> {
    let mut parts = Vec::new();
    let rtt = model.round_trip.map(|rtt| format!("RTT {:.1} ms", rtt.as_secs_f64() * 1e3));
    // A call without a figure: it is not measured, or not yet.
    parts.extend(rtt.or_else(|| model.sent.map(|_| "RTT –".into())));
    parts.extend(model.sent.map(|sent| format!("{sent} sent")));
    parts.extend(model.path.map(str::to_owned));
    (!parts.is_empty()).then(|| Line::styled(cut(&parts.join("  "), width), DIM))
}

/// What has happened, the newest at the bottom. Returns how many lines of the terminal it has.
fn draw_lines(frame: &mut Frame<'_>, area: Rect, model: &Model, theme: Theme) -> usize {
    let (width, height) = (usize::from(area.width), usize::from(area.height));
    let end = model.lines.len().saturating_sub(model.scrolled);
    let name = if model.scrolled > 0 {
        format!("{} lines below: PageDown", model.scrolled)
    } else {
        "messages".to_owned()
    };
    let rows = height.saturating_sub(1);
    let mut shown: Vec<Line<'static>> = Vec::new();
    for (kind, text) in model.lines.iter().take(end).rev() {
        if shown.len() >= rows {
            break;
        }
        let style = theme.of(*kind);
        shown.extend(wrapped(text, width).into_iter().rev().map(|row| Line::styled(row, style)));
    }
    shown.truncate(rows);
    shown.push(rule(&name, width));
    shown.reverse();
    frame.render_widget(Paragraph::new(shown), area);
    rows
}

/// A text in lines of so many columns, broken at blanks where that is possible.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let columns = |text: &str| Span::raw(text).width();
    let mut rows = vec![];
    let (mut row, mut used) = (String::new(), 0);
    for word in text.split_inclusive(' ') {
        let wide = columns(word.trim_end());
        if used + wide > width && used > 0 && wide <= width {
            rows.push(core::mem::take(&mut row));
            used = 0;
        }
        for c in word.chars() {
            let wide = columns(c.encode_utf8(&mut [0; 4]));
            if used + wide > width {
                // A blank at the end of a line is not seen.
                if c == ' ' {
                    continue;
                }
                rows.push(core::mem::take(&mut row));
                used = 0;
            }
            row.push(c);
            used += wide;
        }
    }
    rows.push(row);
    rows
}

fn draw_command_line(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let width = usize::from(area.width).saturating_sub(3);
    let (text, cursor) = model.command_line.visible(width);
    frame.render_widget(Paragraph::new(format!("> {text}")), area);
    if area.height > 0 {
        frame.set_cursor_position(Position::new(area.x + 2 + cursor as u16, area.y));
    }
}

/// What a word can go on with, or which keys there are.
fn hint_of(model: &Model, width: usize) -> Line<'static> {
    let candidates = model.command_line.candidates();
    let text = match (candidates, width) {
        ([], 70..) => "TAB completes   ↑ ↓ typed before   PgUp PgDn scroll   Ctrl-T mutes   Ctrl-C ends",
        ([], _) => "TAB  ↑ ↓  PgUp PgDn  Ctrl-C ends",
        _ => return Line::styled(cut(&candidates.join("  "), width), DIM),
    };
    Line::styled(cut(text, width), DIM)
}

#[cfg(test)]
mod tests;
