//! What is printed of a capture: messages as they come, and a summary.

use super::Summary;
use super::flows::{Analyzer, Flow, Known, Seen, Sink};
use crate::protocol::Side;
use crate::{say_to, width_of};
use serde_json::{Value, json};
use std::io::Write;

/// Messages longer than this are shown without their fields, in bytes.
const MAX_SHOWN: usize = 64 << 10;

/// Columns of a line.
const COLUMNS: usize = 80;

/// Prints messages.
pub(crate) struct Printer<'a> {
    pub(crate) out: &'a mut dyn Write,
    pub(crate) json: bool,
    /// How many more.
    pub(crate) left: u64,
    /// The only flow that is shown.
    pub(crate) only: Option<usize>,
    pub(crate) shown: u64,
}

impl Sink for Printer<'_> {
    fn message(&mut self, seen: &Seen<'_>) -> std::io::Result<()> {
        if self.left == 0 || self.only.is_some_and(|only| only != seen.flow) {
            return Ok(());
        }
        self.left -= 1;
        self.shown += 1;
        let decoded = (seen.bytes.len() <= MAX_SHOWN).then(|| seen.follow.show(seen.from, seen.bytes));
        let shown = match (seen.note, decoded) {
            (Ok(_), Some(Ok(shown))) => Ok(Some(shown.fields)),
            (Ok(_), Some(Err(problem))) => Err(problem.text),
            (Ok(_), None) => Ok(None),
            (Err(problem), _) => Err(problem.text.clone()),
        };
        let line = if self.json { Self::object(seen, shown) } else { Self::line(seen, shown) };
        say_to(self.out, &line)
    }
}

impl Printer<'_> {
    fn object(seen: &Seen<'_>, shown: Result<Option<Value>, String>) -> String {
        let mut object = json!({
            "time": seconds(seen.time), "flow": seen.flow, "from": seen.from.name(), "protocol": seen.entry.name,
        });
        match (seen.note, shown) {
            (Ok(note), Ok(fields)) => {
                object["message"] = note.name.into();
                object["length"] = seen.bytes.len().into();
                object["fields"] = fields.unwrap_or_default();
            }
            (_, shown) => {
                object["malformed"] = shown.err().into();
                let first = &seen.bytes[..seen.bytes.len().min(64)];
                object["bytes"] = hex::encode(first).into();
            }
        }
        object.to_string()
    }

    fn line(seen: &Seen<'_>, shown: Result<Option<Value>, String>) -> String {
        let after = seconds(seen.time.saturating_sub(seen.start));
        let arrow = if seen.from == Side::Client { '>' } else { '<' };
        let (flow, len) = (seen.flow, seen.bytes.len());
        let text = match (seen.note, shown) {
            (Ok(note), Ok(Some(fields))) => format!("{} {len} {fields}", note.name),
            (Ok(note), Ok(None)) => format!("{} {len}", note.name),
            (_, shown) => format!("malformed {len}: {}", shown.err().unwrap_or_default()),
        };
        clipped(&format!("{after:12.6} {flow:3} {arrow} {text}"))
    }
}

/// One line of the terminal.
fn clipped(line: &str) -> String {
    match line.char_indices().nth(COLUMNS) {
        Some(_) => line.chars().take(COLUMNS - 1).chain(['…']).collect(),
        None => line.to_owned(),
    }
}

fn seconds(nanos: i64) -> f64 {
    // Microseconds: a float of seconds since 1970 has no more.
    (nanos / 1000) as f64 / 1e6
}

/// Prints what was there: flow by flow, and all together.
pub(crate) fn summary(
    out: &mut dyn Write,
    json: bool,
    analyzer: &Analyzer,
    summary: &Summary,
    shown: u64,
) -> std::io::Result<()> {
    for (index, flow) in analyzer.flows().iter().enumerate() {
        if json {
            say_to(out, &flow_object(index + 1, flow, analyzer).to_string())?;
        } else if flow.known().is_ok() {
            say_to(out, "")?;
            for line in flow_lines(index + 1, flow, analyzer) {
                say_to(out, &line)?;
            }
        }
    }
    let known: Vec<&Known> = analyzer.flows().iter().filter_map(|flow| flow.known().ok()).collect();
    let messages: u64 = known.iter().map(|known| known.messages()).sum();
    let malformed: u64 = known.iter().map(|known| known.malformed).sum();
    let flows = analyzer.flows().len();
    let other = flows - known.len();
    let Summary { frames, fragments, unknown_link, .. } = *summary;
    let (packets, ignored) = (analyzer.packets, analyzer.ignored);
    if json {
        let object = json!({
            "summary": {
                "frames": frames, "packets": packets, "fragments": fragments.fragments,
                "reassembled_packets": fragments.complete, "incomplete_packets": fragments.incomplete,
                "unknown_link": unknown_link,
                "flows": flows, "other_flows": other, "ignored_packets": ignored,
                "messages": messages, "malformed": malformed, "shown": shown,
            }
        });
        return say_to(out, &object.to_string());
    }
    say_to(out, "")?;
    let mut parts = vec![
        counted(frames, "frame"),
        format!("{} of TCP or UDP", counted(packets, "packet")),
        format!("{} ({other} of other protocols)", counted(flows as u64, "flow")),
        format!("{} ({shown} shown)", counted(messages, "message")),
        format!("{malformed} malformed"),
    ];
    for (count, what) in [
        (fragments.fragments, "fragments of IP packets"),
        (fragments.complete, "packets put together of them"),
        (fragments.incomplete, "packets with fragments missing, not read"),
        (unknown_link, "frames of an unknown link layer, not read"),
        (ignored, "packets of more flows than --max-flows, not read"),
    ] {
        if count > 0 {
            parts.push(format!("{count} {what}"));
        }
    }
    wrapped("total: ", &parts).iter().try_for_each(|line| say_to(out, line))
}

/// Prints what the proxy itself has done.
pub(crate) fn proxied(
    out: &mut dyn Write,
    json: bool,
    figures: &crate::proxy::Figures,
) -> std::io::Result<()> {
    let crate::proxy::Figures { lost, stalled, refused } = *figures;
    if json {
        let object = json!({ "proxy": { "lost": lost, "stalled": stalled, "refused": refused } });
        return say_to(out, &object.to_string());
    }
    let parts = [
        format!("{} dropped", counted(lost, "datagram")),
        format!("{} of TCP held up", counted(stalled, "piece")),
        format!("{refused} beyond the limits"),
    ];
    wrapped("proxy: ", &parts).iter().try_for_each(|line| say_to(out, line))
}

fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// The parts with commas between them, in lines that are not too long.
fn wrapped(head: &str, parts: &[String]) -> Vec<String> {
    let indent = " ".repeat(width_of(head));
    let (mut lines, mut line) = (Vec::new(), head.to_owned());
    for (at, part) in parts.iter().enumerate() {
        let comma = if at + 1 < parts.len() { "," } else { "" };
        let is_first = width_of(&line) == indent.len();
        if !is_first && width_of(&line) + width_of(part) + 2 > COLUMNS {
            lines.push(core::mem::replace(&mut line, indent.clone()));
        } else if !is_first {
            line.push(' ');
        }
        line += part;
        line += comma;
    }
    lines.push(line);
    lines.iter().map(|line| clipped(line)).collect()
}

const SIDES: [Side; 2] = [Side::Client, Side::Server];

fn flow_lines(number: usize, flow: &Flow, analyzer: &Analyzer) -> Vec<String> {
    let Ok(known) = flow.known() else { return Vec::new() };
    let [client, server] = flow.ends();
    let way = if flow.is_tcp { "TCP" } else { "UDP" };
    let user = known.follow.user(Side::Client).map(|user| format!("{user} at ")).unwrap_or_default();
    let lasted = seconds(flow.last - flow.first);
    let mut lines = wrapped(
        &format!("flow {number}: "),
        &[
            format!("{} on {way}", known.entry.name),
            format!("{user}{client} > {server}"),
            format!("{lasted:.3} s"),
            counted(flow.packets, "packet"),
            counted(flow.bytes, "byte"),
        ],
    );
    for (side, counts) in SIDES.into_iter().zip(&known.counts) {
        if !counts.is_empty() {
            let parts: Vec<String> =
                counts.iter().map(|(name, number, _)| format!("{name} {number}")).collect();
            lines.extend(wrapped(&format!("  {}: ", side.name()), &parts));
        }
    }
    lines.extend(voice_lines(known, analyzer));
    lines.extend(SIDES.into_iter().flat_map(|side| trouble_lines(flow, side)));
    if let Some(problem) = &known.problem {
        lines.extend(wrapped(
            "  malformed: ",
            &[known.malformed.to_string(), format!("the first: {problem}")],
        ));
    }
    lines
}

fn voice_lines(known: &Known, analyzer: &Analyzer) -> Vec<String> {
    let lines = known.voices().flat_map(|(side, speaker, figures)| {
        let name = known.follow.speaker(analyzer.names(), side, speaker);
        let jitter = match figures.jitter() {
            Some(jitter) => format!("jitter {:.3} ms", jitter.as_secs_f64() * 1e3),
            None => "jitter not known".into(),
        };
        let (lost, percent) = (figures.lost(), figures.loss_percent());
        wrapped(
            "  voice: ",
            &[
                format!("{name}, from the {}", side.name()),
                counted(figures.messages, "message"),
                format!("{lost} lost ({percent:.1} %)"),
                jitter,
            ],
        )
    });
    lines.collect()
}

fn trouble_lines(flow: &Flow, side: Side) -> Vec<String> {
    let (figures, skipped) = flow.trouble(side);
    let parts: Vec<String> = [
        (figures.repeated, "bytes sent again"),
        (figures.out_of_order, "segments out of order"),
        (figures.gaps, "gaps"),
        (figures.missing, "bytes missing"),
        (skipped, "bytes of no whole message"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{count} {what}"))
    .collect();
    if parts.is_empty() { Vec::new() } else { wrapped(&format!("  stream of the {}: ", side.name()), &parts) }
}

fn flow_object(number: usize, flow: &Flow, analyzer: &Analyzer) -> Value {
    let [client, server] = flow.ends().map(|end| end.to_string());
    let mut object = json!({
        "flow": number, "transport": if flow.is_tcp { "tcp" } else { "udp" },
        "client": client, "server": server, "first": seconds(flow.first), "last": seconds(flow.last),
        "packets": flow.packets, "bytes": flow.bytes,
    });
    let known = match flow.known() {
        Ok(known) => known,
        Err(why) => {
            object["protocol"] = Value::Null;
            object["why"] = why.into();
            return object;
        }
    };
    object["protocol"] = known.entry.name.into();
    object["user"] = known.follow.user(Side::Client).into();
    let mut messages = json!({});
    let mut streams = json!({});
    for (side, counts) in SIDES.into_iter().zip(&known.counts) {
        let one = |(name, number, bytes): &(&str, u64, u64)| {
            ((*name).to_owned(), json!({ "count": number, "bytes": bytes }))
        };
        messages[side.name()] = Value::Object(counts.iter().map(one).collect());
        let (figures, skipped) = flow.trouble(side);
        streams[side.name()] = json!({
            "repeated_bytes": figures.repeated, "out_of_order": figures.out_of_order, "gaps": figures.gaps,
            "missing_bytes": figures.missing, "skipped_bytes": skipped,
        });
    }
    object["messages"] = messages;
    object["streams"] = streams;
    let voice = |(side, speaker, figures): (Side, u64, &super::voice::Figures)| {
        json!({
            "from": side.name(), "speaker": known.follow.speaker(analyzer.names(), side, speaker),
            "messages": figures.messages, "lost": figures.lost(), "loss_percent": figures.loss_percent(),
            "jitter_ms": figures.jitter().map(|jitter| jitter.as_secs_f64() * 1e3),
        })
    };
    object["voice"] = known.voices().map(voice).collect();
    object["malformed"] = known.malformed.into();
    object["problem"] = known.problem.clone().into();
    object
}
