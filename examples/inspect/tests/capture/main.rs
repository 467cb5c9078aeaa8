//! C-09, F-60: `capture` shows every message of every protocol once, for each link layer, each file format and any cutting into
//! segments. It counts what is missing.
#![allow(missing_docs, clippy::unwrap_used, unreachable_pub, dead_code)]

mod build;
mod conversations;
#[path = "../kit/mod.rs"]
mod kit;
mod live;
#[path = "../wireshark/numbers.rs"]
mod numbers;

use build::{Format, Link, Trace, file};
use conversations::Conversation;
use kit::inspect;
use numbers::Numbers;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const PCAP: Format = Format::Pcap { big: false, nanos: false };

/// All of a frame.
const WHOLE: usize = usize::MAX;

type Maker = fn() -> Vec<Conversation>;

const PROTOCOLS: [(&str, Maker); 5] = [
    ("voicelink", conversations::voicelink),
    ("opcode", conversations::opcode),
    ("msgpack", conversations::msgpack),
    ("syfala", conversations::syfala),
    ("dissonance", conversations::dissonance),
];

fn play(conversations: &[Conversation]) -> Trace {
    let mut trace = Trace::default();
    conversations.iter().for_each(|conversation| conversation.play(&mut trace));
    trace
}

fn scratch(name: &str, bytes: &[u8]) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("capture-{name}"));
    std::fs::write(&path, bytes).unwrap();
    path
}

/// What is printed of a file: messages, flows, summary.
struct Shown {
    messages: Vec<Value>,
    flows: Vec<Value>,
    summary: Value,
}

fn capture(path: &Path, more: &[&str]) -> Shown {
    let output = inspect(&[&["capture", "--json", path.to_str().unwrap()], more].concat(), "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let objects: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (messages, others): (Vec<_>, Vec<_>) =
        objects.into_iter().partition(|object| object.get("from").is_some());
    let (flows, summary): (Vec<_>, Vec<_>) =
        others.into_iter().partition(|object| object.get("summary").is_none());
    Shown { messages, flows, summary: summary[0]["summary"].clone() }
}

impl Shown {
    /// Messages of a conversation, but for those of the transport: who sent them, and what they are.
    fn of(&self, conversation: &Conversation) -> Vec<(String, Result<Value, String>)> {
        let client = conversation.ends[0].to_string();
        let way = if conversation.is_tcp { "tcp" } else { "udp" };
        let flow =
            self.flows.iter().find(|flow| flow["client"] == client.as_str() && flow["transport"] == way);
        let number = &flow.unwrap_or_else(|| panic!("{client}"))["flow"];
        let messages = self.messages.iter().filter(|message| message["flow"] == *number);
        let messages = messages
            .filter(|message| !message["message"].as_str().is_some_and(|name| name.ends_with("hello")));
        let one = |message: &Value| {
            let from = message["from"].as_str().unwrap().to_owned();
            match message.get("malformed") {
                None => (from, Ok(json!([message["message"], message["fields"]]))),
                Some(text) => (from, Err(text.as_str().unwrap().to_owned())),
            }
        };
        messages.map(one).collect()
    }

    /// Every message is shown once, as `decode` shows it; those of one side in order.
    fn check(&self, conversation: &Conversation, about: &str) {
        let (shown, wanted) = (self.of(conversation), conversation.wanted());
        for side in ["client", "server"] {
            let shown: Vec<_> = shown.iter().filter(|(from, _)| from == side).collect();
            let wanted: Vec<_> = wanted.iter().filter(|(from, _)| *from == side).collect();
            assert_eq!(shown.len(), wanted.len(), "{about}: {side}: {shown:?}");
            for ((_, shown), (_, wanted)) in shown.iter().zip(wanted) {
                match (shown, wanted) {
                    (Ok(shown), Ok(wanted)) => {
                        assert_eq!(*shown, json!([wanted["message"], wanted["fields"]]), "{about}");
                    }
                    (Err(shown), Err(wanted)) => assert!(wanted.contains(shown.as_str()), "{about}: {shown}"),
                    (shown, wanted) => panic!("{about}: {shown:?}, but {wanted:?}"),
                }
            }
        }
    }

    fn voices(&self) -> Vec<String> {
        let voices = self.flows.iter().filter_map(|flow| flow["voice"].as_array()).flatten();
        let line = |voice: &Value| {
            let jitter =
                voice["jitter_ms"].as_f64().map_or_else(|| "?".into(), |jitter| format!("{jitter:.3}"));
            let speaker = voice["speaker"].as_str().unwrap();
            format!("{speaker}: {} heard, {} lost, jitter {jitter}", voice["messages"], voice["lost"])
        };
        voices.map(line).collect()
    }
}

/// The captures in the tree are what the tests make: these always run.
#[test]
fn c_09_every_message_of_every_protocol_is_shown_once() {
    for (name, make) in PROTOCOLS {
        let conversations = make();
        let format = Format::Pcapng { big: false, binary: false };
        let bytes = file(&play(&conversations), Link::Ethernet, format, WHOLE);
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/captures/{name}.pcapng"));
        if std::env::var_os("VOXWIRE_BLESS").is_some() {
            std::fs::write(&path, &bytes).unwrap();
        }
        assert!(std::fs::read(&path).unwrap() == bytes, "{name}: VOXWIRE_BLESS=1 writes it again");
        let shown = capture(&path, &[]);
        conversations.iter().for_each(|conversation| shown.check(conversation, name));
        assert_eq!(shown.flows.len(), conversations.len(), "{name}");
        assert!(shown.flows.iter().all(|flow| flow["protocol"] == name), "{name}");
    }
}

#[test]
fn f_60_loss_and_jitter_of_voice_are_shown_for_each_speaker() {
    let voices = |make: Maker| {
        let bytes = file(&play(&make()), Link::Ethernet, PCAP, WHOLE);
        capture(&scratch("voices.pcap", &bytes), &["--messages", "0"]).voices()
    };
    assert_eq!(
        voices(conversations::voicelink),
        ["alice: 5 heard, 0 lost, jitter 4.550", "to alice: 5 heard, 0 lost, jitter 4.550"]
    );
    assert_eq!(
        voices(conversations::syfala),
        ["to output 0: 6 heard, 0 lost, jitter 7.102", "of input 0: 5 heard, 1 lost, jitter 7.412"]
    );
    let dissonance = voices(conversations::dissonance);
    assert!(dissonance.iter().any(|line| line.starts_with("alice: ")), "{dissonance:?}");
}

#[test]
fn f_60_link_layers_and_file_formats_make_no_difference() {
    let mut conversations = [conversations::opcode(), conversations::syfala()].concat();
    // The second half over IPv6.
    for conversation in conversations.iter_mut().skip(2) {
        conversation.ends = conversation.ends.map(|end| {
            format!("[fd00::{}]:{}", end.ip().to_string().split('.').next_back().unwrap(), end.port())
                .parse()
                .unwrap()
        });
    }
    let trace = play(&conversations);
    let first = build::START as f64 / 1e9;
    for link in Link::ALL {
        for format in Format::ALL {
            let about = format!("{link:?} {format:?}");
            let shown = capture(&scratch("formats.pcap", &file(&trace, link, format, WHOLE)), &[]);
            assert_eq!(shown.flows.len(), conversations.len(), "{about}");
            assert!(
                (shown.flows[0]["first"].as_f64().unwrap() - first).abs() < 1e-5,
                "{about}: {}",
                shown.flows[0]
            );
            if link == Link::Ethernet || format == PCAP {
                conversations.iter().for_each(|conversation| shown.check(conversation, &about));
            }
            assert_eq!(shown.summary["malformed"], 0, "{about}");
        }
    }
}

/// How a stream is cut into segments.
#[derive(Debug, Clone, Copy)]
enum Cut {
    Bytes,
    Ragged,
    Twice,
    Swapped,
}

#[test]
fn f_60_segments_may_be_of_any_size_come_twice_and_in_any_order() {
    for (name, make) in PROTOCOLS {
        for cut in [Cut::Bytes, Cut::Ragged, Cut::Twice, Cut::Swapped] {
            let conversations: Vec<_> =
                make().into_iter().filter(|conversation| conversation.is_tcp).collect();
            let mut trace = Trace::default();
            for conversation in &conversations {
                segments(conversation, cut, &mut trace);
            }
            if conversations.is_empty() {
                continue;
            }
            let about = format!("{name} {cut:?}");
            let shown = capture(
                &scratch("segments.pcap", &file(&trace, Link::Raw, PCAP, WHOLE)),
                &["--messages", "100000"],
            );
            conversations.iter().for_each(|conversation| shown.check(conversation, &about));
        }
    }
}

fn segments(conversation: &Conversation, cut: Cut, trace: &mut Trace) {
    let mut tcp = trace.connect(conversation.ends[0], conversation.ends[1]);
    let mut numbers = Numbers(9);
    for run in conversation.sent.chunk_by(|a, b| a.end == b.end) {
        let end = run[0].end;
        let stream: Vec<u8> = run.iter().flat_map(|sent| sent.unit.clone()).collect();
        let mut rest = &stream[..];
        let mut parts = Vec::new();
        while !rest.is_empty() {
            let len = match cut {
                Cut::Bytes => 1,
                _ => 1 + numbers.below(100),
            };
            let (part, after) = rest.split_at(len.min(rest.len()));
            let sequence = tcp.sequence[end];
            tcp.sequence[end] = sequence.wrapping_add(u32::try_from(part.len()).unwrap());
            parts.push((sequence, part));
            rest = after;
        }
        if matches!(cut, Cut::Swapped) {
            parts.chunks_mut(3).for_each(<[_]>::reverse);
        }
        for (sequence, part) in parts {
            for _ in 0..if matches!(cut, Cut::Twice) { 2 } else { 1 } {
                trace.segment(&tcp, end, sequence, part, (false, true));
            }
        }
    }
}

/// What is not in the capture is counted; what comes behind it is shown.
#[test]
fn f_60_gaps_cost_no_more_than_the_messages_in_them() {
    let conversation = &conversations::voicelink()[0];
    let whole = play(core::slice::from_ref(conversation));
    let total = conversation.sent.len();
    // Without the fifth message (of seven segments before it three open the connection), and without the first nine packets.
    let mut gap = whole.clone();
    gap.packets.remove(3 + 4);
    let shown = capture(&scratch("gap.pcap", &file(&gap, Link::Raw, PCAP, WHOLE)), &[]);
    assert_eq!(shown.messages.len(), total - 1);
    let streams = &shown.flows[0]["streams"];
    assert_eq!((&streams["server"]["gaps"], &streams["server"]["missing_bytes"]), (&json!(1), &json!(1926)));
    let mut late = whole.clone();
    late.packets.drain(..9);
    let shown = capture(&scratch("late.pcap", &file(&late, Link::Raw, PCAP, WHOLE)), &[]);
    assert_eq!(shown.messages.len(), total - 6);
    assert_eq!(
        (&shown.flows[0]["client"], &shown.flows[0]["protocol"]),
        (&json!("10.0.0.1:50001"), &json!("voicelink"))
    );
    // Only the first 100 bytes of each frame: the short messages are whole.
    let shown = capture(&scratch("snap.pcap", &file(&whole, Link::Raw, PCAP, 100)), &[]);
    assert_eq!(shown.messages.len(), total - 10);
    assert_eq!(shown.flows[0]["streams"]["client"]["gaps"], 5);
}

#[test]
fn f_60_fragments_of_ip_packets_are_put_together_and_gaps_are_counted() {
    for (name, make) in PROTOCOLS {
        for is_v6 in [false, true] {
            let mut conversations = make();
            if is_v6 {
                for (number, conversation) in (1..).zip(&mut conversations) {
                    let at = |host| std::net::Ipv6Addr::from([0xfd00, 0, 0, 0, 0, 0, number, host]);
                    for (end, host) in conversation.ends.iter_mut().zip(1..) {
                        end.set_ip(at(host).into());
                    }
                }
            }
            for (size, link) in [(8, Link::Raw), (48, Link::Vlan), (1024, Link::Ethernet)] {
                let about = format!("{name}, {link:?}, fragments of {size}, {is_v6}");
                let trace = play(&conversations).fragmented(size);
                let shown = capture(
                    &scratch("fragments.pcap", &file(&trace, link, PCAP, WHOLE)),
                    &["--messages", "100000"],
                );
                conversations.iter().for_each(|conversation| shown.check(conversation, &about));
                let figure = |name: &str| shown.summary[name].as_u64().unwrap();
                assert_eq!(figure("incomplete_packets"), 0, "{about}");
                assert!(size > 48 || figure("reassembled_packets") > 0, "{about}");
                assert!(figure("fragments") >= 2 * figure("reassembled_packets"), "{about}");
            }
        }
    }
    // One fragment is missing: one packet is, too.
    let mut trace = play(&conversations::dissonance()).fragmented(32);
    let whole = capture(&scratch("whole.pcap", &file(&trace, Link::Raw, PCAP, WHOLE)), &[]);
    let is_fragment = |(_, packet): &(u64, Vec<u8>)| packet[6] & 0x3f != 0 || packet[7] != 0;
    let last = trace.packets.iter().rposition(is_fragment).unwrap();
    trace.packets.remove(last);
    let bytes = file(&trace, Link::Raw, PCAP, WHOLE);
    let path = scratch("incomplete.pcap", &bytes);
    let shown = capture(&path, &[]);
    let figure = |shown: &Shown, name: &str| shown.summary[name].as_u64().unwrap();
    assert_eq!(figure(&shown, "incomplete_packets"), 1);
    assert_eq!(figure(&shown, "reassembled_packets") + 1, figure(&whole, "reassembled_packets"));
    let text = inspect(&["capture", path.to_str().unwrap()], "").stdout;
    let text = String::from_utf8(text).unwrap();
    let line = text.lines().find(|line| line.contains("1 packets with fragments missing")).expect(&text);
    assert!(line.chars().count() <= 80, "{line}");
}

/// A capture on the sender's machine holds datagrams as one that the system cuts later (segmentation offload).
#[test]
fn f_60_datagrams_that_the_sender_has_not_cut_yet_are_counted_one_by_one() {
    let audio = |stream: u8, index: u16, count: u8| {
        let [low, high] = index.to_le_bytes();
        let head = [7, stream, 0, 0, 0, low, high, 0, 0, 0, 0, 0, 0, count, 0, 0, 0];
        [&head[..], &vec![5; count.into()]].concat()
    };
    let syfala = conversations::syfala().remove(0);
    let dissonance = conversations::dissonance().pop().unwrap();
    let voice = dissonance.sent.iter().rfind(|sent| sent.end == 0).unwrap().unit.clone();
    let shorter = [&voice[..8], &[0x8b, 0xc7]].concat();
    for (conversation, end, datagrams) in [
        (&syfala, 1, vec![audio(0, 11_520, 24), audio(0, 11_544, 24), audio(0, 11_568, 16)]),
        (&syfala, 1, vec![audio(0, 11_520, 24), audio(1, 0, 24), audio(0, 11_544, 24)]),
        (&dissonance, 0, vec![voice.clone(), voice.clone(), voice.clone()]),
        (&dissonance, 0, vec![voice.clone(), voice, shorter]),
    ] {
        let count = |datagrams: &[Vec<u8>]| {
            let mut trace = play(core::slice::from_ref(conversation));
            let [from, to] = [conversation.ends[end], conversation.ends[1 - end]];
            datagrams.iter().for_each(|datagram| trace.udp(from, to, datagram));
            let path = scratch("offload.pcap", &file(&trace, Link::Raw, PCAP, WHOLE));
            let shown = capture(&path, &[]);
            let bytes = |message: &Value| (message["message"].clone(), message["fields"].clone());
            (shown.messages.iter().map(bytes).collect::<Vec<_>>(), shown.voices())
        };
        let (apart, together) = (count(&datagrams), count(&[datagrams.concat()]));
        assert_eq!(apart.0, together.0);
        let lost = |voices: &[String]| -> Vec<String> {
            voices.iter().map(|line| line.split(", jitter").next().unwrap().to_owned()).collect()
        };
        assert_eq!(lost(&apart.1), lost(&together.1));
    }
}

/// C-17: what `vector` makes of a recording of every public vector says the same as that.
#[test]
fn c_17_vectors_of_a_recording_are_those_of_the_tree() {
    for (protocol, file_name, port) in [
        ("voicelink", "packets", 4240),
        ("opcode", "packets", 4241),
        ("msgpack", "messages", 4242),
        ("syfala", "messages", 6911),
        ("dissonance", "packets", 4244),
    ] {
        let path = format!("../../proto-{protocol}/vectors/{file_name}.json");
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
        let all: Vec<Value> = serde_json::from_str(&text).unwrap();
        let is_message = |vector: &&Value| {
            let message = vector["fields"]["message"].as_str().unwrap_or_default();
            // Parts of messages, and a unit around a message.
            vector.get("fields").is_some()
                && !["room id", "channel bitfield"].contains(&message)
                && vector["fields"]["unit"] != "frame"
        };
        let public: Vec<&Value> = all.iter().filter(is_message).collect();
        let mut trace = Trace::default();
        let mut connections = std::collections::BTreeMap::new();
        for (number, vector) in (0..).zip(&public) {
            // The shortest packets of voicelink are known by those before them.
            let number =
                if protocol == "voicelink" { vector["wire"].as_str().unwrap().len() } else { number };
            let ends = [(10_000 + number, "10.0.0.1"), (port, "10.0.0.9")];
            let ends = ends.map(|(port, host)| format!("{host}:{port}").parse().unwrap());
            let bytes = hex::decode(vector["hex"].as_str().unwrap()).unwrap();
            let end = usize::from(vector["from"] == "server");
            match protocol {
                "syfala" => trace.udp(ends[end], ends[1 - end], &bytes),
                "dissonance" => {
                    let datagram = [&[3, 1, 2, 3, 4, 5, 6, 7][..], &bytes].concat();
                    trace.udp(ends[end], ends[1 - end], &datagram);
                }
                _ => {
                    let tcp = connections.entry(number).or_insert_with(|| trace.connect(ends[0], ends[1]));
                    trace.send(tcp, end, &bytes);
                }
            }
        }
        let recording = scratch(&format!("vectors-{protocol}.pcap"), &file(&trace, Link::Raw, PCAP, WHOLE));
        let port = port.to_string();
        let flags =
            ["--json", "--protocol", protocol, "--port", &port, "--each", "1000", "--longest", "100000"];
        let output = inspect(&[&["vector"], &flags[..], &[recording.to_str().unwrap()]].concat(), "");
        let found: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        for vector in public {
            let same = |other: &&Value| {
                other["hex"] == vector["hex"]
                    && ["from", "wire"]
                        .iter()
                        .all(|name| vector.get(name).is_none_or(|value| other[name] == *value))
            };
            let Some(other) = found.iter().find(same) else {
                // No program sends it, so that a capture knows no conversation by it.
                assert_eq!(vector["canonical"], false, "{protocol}: {vector}");
                continue;
            };
            assert_eq!(other["fields"], vector["fields"], "{protocol}: {}", vector["name"]);
        }
    }
}

/// The ports are used again.
#[test]
fn f_60_another_connection_of_the_same_ports_is_another_flow() {
    let conversation = &conversations::opcode()[0];
    let mut trace = Trace::default();
    conversation.play(&mut trace);
    trace.offset = 1 << 20;
    conversation.play(&mut trace);
    let shown = capture(&scratch("again.pcap", &file(&trace, Link::Raw, PCAP, WHOLE)), &[]);
    assert_eq!((shown.flows.len(), shown.messages.len()), (2, 2 * conversation.sent.len()));
}

#[test]
fn f_60_no_file_makes_it_panic() {
    let mut numbers = Numbers(5);
    let files: Vec<Vec<u8>> = PROTOCOLS
        .iter()
        .zip([PCAP, Format::Pcapng { big: true, binary: true }].into_iter().cycle())
        .map(|((_, make), format)| file(&play(&make()), Link::Ethernet, format, WHOLE))
        .collect();
    for round in 0..300 {
        let mut bytes = files[round % files.len()].clone();
        for _ in 0..=numbers.below(8) {
            let at = numbers.below(bytes.len());
            match numbers.below(6) {
                0 => bytes.truncate(at.max(1)),
                1 => bytes[at] = 0xff,
                2 => bytes.splice(at..at, [0; 3]).for_each(drop),
                3 => bytes.drain(at..(at + 5).min(bytes.len())).for_each(drop),
                _ => bytes[at] = u8::try_from(numbers.below(256)).unwrap(),
            }
        }
        let path = scratch("hostile.pcap", &bytes);
        let output = inspect(&["capture", "--messages", "3", path.to_str().unwrap()], "");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(
            matches!(output.status.code(), Some(0 | 1)) && !error.contains("panicked"),
            "{round}: {error}"
        );
    }
    for (bytes, expected) in
        [(&b""[..], "neither pcap nor pcapng"), (b"GET / HTTP/1.1", "neither pcap nor pcapng")]
    {
        let output = inspect(&["capture", scratch("no.pcap", bytes).to_str().unwrap()], "");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && error.contains(expected), "{error}");
    }
    let short = &files[0][..files[0].len() - 10];
    let output = inspect(&["capture", scratch("short.pcap", short).to_str().unwrap()], "");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && error.contains("ends inside of a block"), "{error}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("total: "));
}

#[test]
fn f_60_each_flag_of_capture_does_what_it_says() {
    let conversations = [conversations::opcode(), conversations::syfala()].concat();
    let path = scratch("flags.pcap", &file(&play(&conversations), Link::Null, PCAP, WHOLE));
    let all = capture(&path, &[]);
    let (flows, total) = (all.flows.len(), all.messages.len());
    assert_eq!((flows, &all.summary["messages"], &all.summary["shown"]), (4, &json!(total), &json!(total)));
    assert_eq!(capture(&path, &["--messages", "7"]).messages.len(), 7);
    assert_eq!(capture(&path, &["--messages", "0"]).summary["messages"], total);
    let of_flow = all.messages.iter().filter(|message| message["flow"] == 2).count();
    assert_eq!(capture(&path, &["--flow", "2"]).messages.len(), of_flow);
    let syfala = capture(&path, &["--protocol", "syfala"]);
    assert!(
        syfala.messages.iter().all(|message| message["protocol"] == "syfala") && !syfala.messages.is_empty()
    );
    assert_eq!(syfala.summary["other_flows"], 3);
    let few = capture(&path, &["--max-flows", "1"]);
    assert_eq!(few.flows.len(), 1);
    assert!(few.summary["ignored_packets"].as_u64().unwrap() > 0);
    // Only one byte each, on no known port: a person has to say what it is.
    let mut quiet = conversations::syfala().remove(0);
    quiet.ends[1].set_port(7000);
    quiet.sent.retain(|sent| sent.unit.len() == 1);
    let path = scratch("port.pcap", &file(&play(&[quiet.clone()]), Link::Raw, PCAP, WHOLE));
    assert_eq!(capture(&path, &[]).messages.len(), 0);
    assert_eq!(capture(&path, &["--protocol", "syfala", "--port", "7000"]).messages.len(), quiet.sent.len());
    let usage = [&["--port", "7000"][..], &["--protocol", "any-msgpack"]];
    for flags in usage {
        let output = inspect(&[&["capture", path.to_str().unwrap()], flags].concat(), "");
        assert_eq!(output.status.code(), Some(2), "{flags:?}");
    }
}

#[test]
fn f_60_lines_for_people_have_80_columns() {
    for (_, make) in PROTOCOLS {
        let path = scratch("lines.pcap", &file(&play(&make()), Link::Cooked2, PCAP, WHOLE));
        let output = inspect(&["capture", path.to_str().unwrap()], "");
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(text.contains("flow 1: ") && text.contains("total: "), "{text}");
    }
}
