//! The people who are there: a table, or two lines for each where there is little room.

use super::super::people::{People, Person};
use super::{DIM, Theme, cut, fit, rule};
use core::time::Duration;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};

/// From so many columns on, each has one line, in a table; and from so many on, with the past of loss and jitter.
const TABLE: usize = 64;
const WITH_PAST: usize = 88;

/// At most `height` lines in `width` columns, with a head.
pub(super) fn lines(people: &People, width: usize, height: usize, theme: Theme) -> Vec<Line<'static>> {
    let all = people.sorted();
    let mut lines = vec![rule(&format!("here: {}", all.len()), width)];
    let heard = all.iter().any(|(_, person)| person.voice.is_some());
    if width >= TABLE && heard {
        lines.push(Line::styled(cut(&head(width), width), DIM));
    }
    let mut left = all.len();
    for (name, person) in all {
        let rows = match width >= TABLE {
            true => vec![row(name, person, width, theme)],
            false => narrow(name, person, width, theme),
        };
        // The last line may have to say how many there are besides.
        let needed = rows.len() + usize::from(left > 1);
        if lines.len() + needed > height.max(2) {
            lines.push(Line::styled(cut(&format!("and {left} more"), width), DIM));
            break;
        }
        lines.extend(rows);
        left -= 1;
    }
    lines.truncate(height.max(1));
    lines
}

fn name_width(width: usize) -> usize {
    if width >= WITH_PAST { (width - 78).clamp(10, 24) } else { (width - 52).clamp(10, 20) }
}

fn head(width: usize) -> String {
    let name = fit("", name_width(width) + 2);
    if width >= WITH_PAST {
        format!(
            "{name} {:<10} {:>6} {:<8} {:>7} {:<8} {:>7} {:>5} {:>5}",
            "level", "loss", "", "jitter", "", "buffer", "rec.", "conc."
        )
    } else {
        format!(
            "{name} {:<8} {:>6} {:>7} {:>7} {:>6} {:>6}",
            "level", "loss", "jitter", "buffer", "rec.", "conc."
        )
    }
}

fn marked(name: &str, person: &Person, width: usize, theme: Theme) -> Span<'static> {
    let (mark, style) = match person.speaks {
        true => ("●", theme.level().add_modifier(Modifier::BOLD)),
        false => (" ", Style::new()),
    };
    Span::styled(format!("{mark} {}", fit(name, width)), style)
}

/// One line of the table.
fn row(name: &str, person: &Person, width: usize, theme: Theme) -> Line<'static> {
    let mut spans = vec![marked(name, person, name_width(width), theme)];
    let Some(voice) = &person.voice else {
        spans.push(Span::styled(format!(" {}", cut(&person.note, width - name_width(width) - 3)), DIM));
        return Line::from(spans);
    };
    let (loss, jitter, buffer) = (percent(person.loss()), millis(voice.jitter), millis(voice.buffer));
    let (recovered, concealed) = (count(voice.recovered), count(voice.concealed));
    if width >= WITH_PAST {
        let losses = person.losses.bars(8, person.losses.most(4.0));
        let jitters = person.jitters.bars(8, person.jitters.most(20.0));
        spans.push(Span::styled(format!(" {}", person.levels.bars(10, 1.0)), theme.level()));
        let figures =
            format!(" {loss:>6} {losses} {jitter:>7} {jitters} {buffer:>7} {recovered:>5} {concealed:>5}");
        spans.push(Span::raw(figures));
        let used = name_width(width) + 2 + 11 + 7 + 9 + 8 + 9 + 8 + 12;
        spans.push(Span::styled(cut(&format!("  {}", person.note), width.saturating_sub(used)), DIM));
    } else {
        spans.push(Span::styled(format!(" {}", person.levels.bars(8, 1.0)), theme.level()));
        spans.push(Span::raw(format!(" {loss:>6} {jitter:>7} {buffer:>7} {recovered:>6} {concealed:>6}")));
    }
    Line::from(spans)
}

/// Two lines, three where all figures are known, or one for those who are not heard.
fn narrow(name: &str, person: &Person, width: usize, theme: Theme) -> Vec<Line<'static>> {
    let bars = if person.voice.is_some() { 10 } else { 0 };
    let room = width.saturating_sub(bars + 3);
    let Some(voice) = &person.voice else {
        let names = room.min(Span::raw(name).width());
        let note = cut(&person.note, room.saturating_sub(names + 1));
        return vec![Line::from(vec![
            marked(name, person, names, theme),
            Span::styled(format!(" {note}"), DIM),
        ])];
    };
    let mut parts = vec![];
    parts.extend(voice.lost.map(|_| format!("loss {}", percent(person.loss()))));
    parts.extend(voice.jitter.map(|jitter| format!("jit {}", millis(Some(jitter)))));
    parts.extend(voice.buffer.map(|buffer| format!("buf {}", millis(Some(buffer)))));
    parts.extend(voice.recovered.map(|count| format!("rec {count}")));
    parts.extend(voice.concealed.map(|count| format!("con {count}")));
    let first = vec![
        marked(name, person, room, theme),
        Span::styled(format!(" {}", person.levels.bars(bars, 1.0)), theme.level()),
    ];
    let mut rows = vec![String::from(" ")];
    for part in parts {
        match rows.last_mut() {
            Some(row) if row.chars().count() + 1 + part.len() <= width || row.len() == 1 => {
                *row += &format!(" {part}");
            }
            _ => rows.push(format!("  {part}")),
        }
    }
    let figures = rows.into_iter().map(|row| Line::styled(cut(&row, width), DIM));
    [Line::from(first)].into_iter().chain(figures).collect()
}

fn percent(loss: Option<f64>) -> String {
    loss.map_or_else(|| "–".into(), |loss| format!("{loss:.1}%"))
}

fn millis(time: Option<Duration>) -> String {
    time.map_or_else(|| "–".into(), |time| format!("{:.0}ms", time.as_secs_f64() * 1e3))
}

fn count(count: Option<u64>) -> String {
    count.map_or_else(|| "–".into(), |count| count.to_string())
}
