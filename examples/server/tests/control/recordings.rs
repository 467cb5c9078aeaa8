//! Recordings: begun and ended by the API, and read by programs that are not ours.

use crate::common::{Controlled, serve};
use crate::kit::raw::next_of;
use crate::kit::raw::{
    CarriedCall, connect, encode, handshake, join, metrics, next_packet, opcode_packet, packet, pause,
    registered, sample, unit,
};
use crate::kit::user::{User, runtime};
use crate::kit::{Server, command, file, folder};
use core::net::SocketAddr;
use serde_json::{Value, json};
use std::io::{Read as _, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use voxwire_audio::{VoiceSettings, voice_encoder};
use voxwire_core::Message;
use voxwire_dissonance::{
    Channel, ClientId, CodecSettings, DeltaClientState, HandshakeRequest, Options, Packet, Profile,
    Recipient, ServerRelay, VoiceData, Wire, room_id,
};
use voxwire_msgpack::{ClientCommand, Dialect};

const ONLY: &str = "only = [\"dissonance\"]\n[dissonance]\nport = 0\nquic = false\n";

/// Packets of 20 ms each: so many of a tone, which is at its phase of packet `from`.
fn tone(hertz: f32, from: usize, count: usize) -> Vec<Vec<u8>> {
    let mut encoder = voice_encoder(VoiceSettings::DEFAULT).unwrap();
    let samples = |packet: usize| {
        (0..960).map(move |n| {
            let at = (packet * 960 + n) as f32 / 48_000.0;
            0.5 * (at * hertz * core::f32::consts::TAU).sin()
        })
    };
    let encoded = (from..from + count).map(|packet| {
        let mut bytes = Vec::new();
        encoder.encode(&samples(packet).collect::<Vec<f32>>(), &mut bytes).unwrap();
        bytes
    });
    encoded.collect()
}

/// A player who speaks.
struct Player {
    stream: TcpStream,
    session: u32,
    id: ClientId,
    sequence: u16,
}

impl Player {
    fn join(address: SocketAddr, name: &[u8; 3]) -> Self {
        let (stream, session, id) = join(address, name);
        Self { stream, session, id, sequence: 0 }
    }

    fn listen(&mut self, room: &str, joined: bool) {
        let delta = DeltaClientState { session: self.session, joined, client: self.id, room: room.into() };
        self.stream.write_all(&unit(&Packet::DeltaClientState(delta))).unwrap();
    }

    /// One frame.
    fn say(&mut self, to: Recipient, listener: ClientId, frame: &[u8]) {
        let (session, sender, sequence) = (self.session, self.id, self.sequence);
        let (options, channels) = (Options::new(0, Profile::Later), &[Channel::new(to)]);
        let voice = VoiceData { session, sender, options, sequence, channels, frame };
        let payload = encode(&Packet::VoiceData(voice));
        let relay = ServerRelay { session, destinations: &[listener], payload: &payload };
        self.stream.write_all(&unit(&Packet::ServerRelayUnreliable(relay))).unwrap();
        self.sequence = self.sequence.wrapping_add(1);
    }

    /// Frames, each when it is spoken.
    fn speak(&mut self, to: Recipient, listener: ClientId, frames: &[Vec<u8>]) {
        for frame in frames {
            self.say(to, listener, frame);
            pause(20);
        }
    }

    /// What the next text says.
    fn told(&mut self) -> String {
        let text = next_of(&mut self.stream, &["TextData"]);
        let Packet::TextData(text) = Packet::decode(&text, &Wire::default()).unwrap() else { unreachable!() };
        text.text.as_str().unwrap().to_owned()
    }
}

fn lobby() -> Recipient {
    Recipient::Room(room_id("Lobby"))
}

/// The files of recordings, by name.
fn files(data: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(data.join("recordings")).into_iter().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn file_of(data: &Path, speaker: &str) -> PathBuf {
    let named =
        |path: &PathBuf| path.file_stem().unwrap().to_str().unwrap().ends_with(&format!("-{speaker}"));
    files(data).into_iter().find(named).unwrap_or_else(|| panic!("{speaker}: {:?}", files(data)))
}

/// What libsndfile reads of a file: its rate, and for each tenth of a second how loud it is, and its pitch in hertz.
fn read(path: &Path) -> Option<(u32, Vec<(f64, f64)>)> {
    const SCRIPT: &str = r#"
import sys, numpy, soundfile
samples, rate = soundfile.read(sys.argv[1], always_2d=True)
mono = samples[:, 0]
print(rate)
step = rate // 10
for at in range(0, len(mono) - step + 1, step):
    part = mono[at:at + step]
    level = float(numpy.sqrt(numpy.mean(part ** 2)))
    crossings = int(numpy.sum((part[:-1] < 0) & (part[1:] >= 0)))
    print(level, crossings * 10)
"#;
    let python = ["/usr/bin/python3", "python3"].into_iter().find(|python| {
        let found = Command::new(python).args(["-c", "import numpy, soundfile"]).output();
        found.is_ok_and(|found| found.status.success())
    });
    let Some(python) = python else {
        println!("skipped: no Python with numpy and soundfile");
        return None;
    };
    let output = Command::new(python).args(["-c", SCRIPT]).arg(path).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
    let mut lines = text.lines();
    let rate = lines.next().unwrap().parse().unwrap();
    let tenths = lines.map(|line| {
        let (level, pitch) = line.split_once(' ').unwrap();
        (level.parse().unwrap(), pitch.parse().unwrap())
    });
    Some((rate, tenths.collect()))
}

/// Tenths of a second in which a tone of that pitch is heard, from the first to the last, and how many.
fn heard(tenths: &[(f64, f64)], hertz: f64) -> (usize, usize, usize) {
    let is_tone = |(level, pitch): &(f64, f64)| *level > 0.3 && (pitch - hertz).abs() < 30.0;
    let places: Vec<usize> = (0..tenths.len()).filter(|at| is_tone(&tenths[*at])).collect();
    assert!(!places.is_empty(), "{hertz} Hz: {tenths:?}");
    (places[0], places[places.len() - 1], places.len())
}

/// The packets of a file, as a reader of Ogg has them, without the heads.
fn packets(path: &Path) -> Vec<Vec<u8>> {
    let mut reader = ogg::PacketReader::new(std::io::Cursor::new(std::fs::read(path).unwrap()));
    let mut packets = Vec::new();
    while let Ok(Some(packet)) = reader.read_packet() {
        packets.push(packet.data);
    }
    packets.split_off(packets.len().min(2))
}

#[track_caller]
fn until(what: &str, is: impl Fn() -> bool) {
    for _ in 0..3000 {
        if is() {
            return;
        }
        pause(10);
    }
    panic!("{what}");
}

/// C-45, C-46: what is said to a room is in one file for each speaker, as it came and when it was said; who is recorded is told.
#[test]
fn c_45_a_room_is_recorded_a_file_for_each_speaker() {
    let control = Controlled::start("record", ONLY);
    let address = control.address("dissonance tcp");
    let (mut ann, mut ben) = (Player::join(address, b"ann"), Player::join(address, b"ben"));
    ben.listen("Lobby", true);
    until("ben listens", || {
        control.get("/api/v1/dissonance/members")["items"][1]["rooms"] == json!(["Lobby"])
    });
    let path = "/api/v1/dissonance/recordings";
    let begun = control.act(path, &json!({ "room": "Lobby" }));
    assert_eq!((&begun["id"], &begun["room"], &begun["by"]), (&json!(1), &json!("Lobby"), &json!("ann")));
    assert_eq!(ben.told(), "What is said in this room is being recorded.");
    let (status, code, _) = control.refuses(path, &json!({ "room": "Lobby" }));
    assert_eq!((status, code.as_str()), (409, "refused"));
    // One who comes later is told, too.
    ann.listen("Lobby", true);
    assert_eq!(ann.told(), "What is said in this room is being recorded.");
    let (low, high, whisper) = (tone(400.0, 0, 40), tone(800.0, 0, 40), tone(1600.0, 0, 10));
    ann.speak(lobby(), ben.id, &low);
    // This is not said to the room.
    ann.speak(Recipient::Player(ben.id), ben.id, &whisper);
    pause(600);
    ann.speak(lobby(), ben.id, &high);
    ben.speak(lobby(), ann.id, &high[..10]);
    until("both are written", || control.get("/api/v1/recordings")["items"][0]["files"] == 2);
    let (status, ended) = control.ask("DELETE", "/api/v1/recordings/1", &Value::Null);
    assert!(status == 200 && ended["lost"] == 0, "{ended}");
    assert_eq!(ben.told(), "What is said in this room is no longer recorded.");
    assert_eq!(control.get("/api/v1/recordings")["total"], 0);
    ann.speak(lobby(), ben.id, &whisper);
    // Complete as soon as the writer has come to it: both files are as long.
    let (anns, bens) = (file_of(&control.data, "ann"), file_of(&control.data, "ben"));
    until("the files are ended", || [&anns, &bens].iter().all(|path| is_ended(path)));
    for (path, mode) in [(&anns, 0o600), (&anns.parent().unwrap().to_owned(), 0o700)] {
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, mode);
    }
    let said: Vec<&Vec<u8>> = low.iter().chain(&high).collect();
    let kept = packets(&anns);
    // Silence alone has 0xff, 0xfe in each of its frames.
    let kept: Vec<&Vec<u8>> = kept.iter().filter(|packet| !packet.ends_with(&[0xff, 0xfe])).collect();
    assert_eq!(kept, said);
    let (Some((rate, ann)), Some((_, ben))) = (read(&anns), read(&bens)) else { return };
    assert_eq!((rate, ann.len()), (48_000, ben.len()));
    let (first, second, other) = (heard(&ann, 400.0), heard(&ann, 800.0), heard(&ben, 800.0));
    // 0.8 s each, the second one at least 0.8 s behind the first, and then the other speaker.
    // (A busy machine makes gaps, which are silence.)
    assert!(first.2 >= 4 && second.2 >= 4, "{ann:?}");
    assert!(second.0 >= first.1 + 4 && other.0 >= second.1, "{ann:?} {ben:?}");
    assert!(ann[first.1 + 3..second.0 - 1].iter().all(|(level, _)| *level < 1e-3), "{ann:?}");
}

/// Whether the last page of a file says that it is the last one.
fn is_ended(path: &Path) -> bool {
    let bytes = std::fs::read(path).unwrap_or_default();
    let last = bytes.windows(4).rposition(|part| part == b"OggS");
    last.is_some_and(|at| bytes[at + 5] & 4 != 0)
}

/// C-45: a client is recorded by its name, to whomever it speaks, also when it comes back; a file that a killed server leaves is
/// played, and its number is not used again.
#[test]
fn c_45_what_was_said_is_on_the_disk_after_kill_9() {
    let mut control = Controlled::start("record-kill", ONLY);
    let address = control.address("dissonance tcp");
    let ben = Player::join(address, b"ben");
    control.until("dissonance", 1);
    // It need not be there.
    control.act("/api/v1/dissonance/recordings", &json!({ "name": "ann" }));
    let mut ann = Player::join(address, b"ann");
    assert_eq!(ann.told(), "What you say is being recorded.");
    ann.speak(Recipient::Player(ben.id), ben.id, &tone(400.0, 0, 120));
    let is_sound = |packet: &&Vec<u8>| !packet.ends_with(&[0xff, 0xfe]);
    let written =
        || files(&control.data).first().map_or(0, |file| packets(file).iter().filter(is_sound).count());
    until("all but the last second is written", || written() >= 120 - 50);
    control.server.child.kill().unwrap();
    control.server.child.wait().unwrap();
    assert!(written() >= 120 - 50);
    if let Some((_, ann)) = read(&file_of(&control.data, "ann")) {
        let (_, _, tenths) = heard(&ann, 400.0);
        assert!(tenths >= 8, "{ann:?}");
    }
    // What the settings say is recorded from the start on.
    let settings = format!("announce-recordings = false\n{ONLY}record-rooms = [\"Lobby\"]\n");
    control.server = serve("record-kill", &settings, "", &control.data);
    let address = control.address("dissonance tcp");
    let listed = control.get("/api/v1/recordings");
    assert_eq!((&listed["items"][0]["id"], &listed["items"][0]["by"]), (&json!(2), &json!("settings")));
    let (mut ann, mut ben) = (Player::join(address, b"ann"), Player::join(address, b"ben"));
    ben.listen("Lobby", true);
    ann.speak(lobby(), ben.id, &tone(400.0, 0, 50));
    // Nobody is told, and nothing is lost where the server ends by itself.
    for _ in 0..50 {
        let next = next_of(&mut ben.stream, &["TextData", "VoiceData"]);
        assert_eq!(Packet::decode(&next, &Wire::default()).unwrap().name(), "VoiceData");
    }
    control.server.signal("-TERM");
    assert!(control.server.wait().success());
    let files = files(&control.data);
    let last = files.last().unwrap();
    assert!(files.len() == 2 && last.to_str().unwrap().contains("-dissonance-2-Lobby-1-ann"), "{files:?}");
    let kept = packets(last).iter().filter(|packet| !packet.ends_with(&[0xff, 0xfe])).count();
    assert!(is_ended(last) && kept >= 48, "{kept}");
}

/// C-45: a disk that takes nothing costs the recording, and no call: operators are told.
#[test]
fn c_45_a_disk_that_takes_nothing_costs_no_call() {
    let control = Controlled::start("record-disk", ONLY);
    // What cannot be made.
    std::os::unix::fs::symlink("/proc/nothing/here", control.data.join("recordings")).unwrap();
    let address = control.address("dissonance tcp");
    let (mut ann, mut ben) = (Player::join(address, b"ann"), Player::join(address, b"ben"));
    ben.listen("Lobby", true);
    control.until("dissonance", 2);
    control.act("/api/v1/dissonance/recordings", &json!({ "room": "Lobby" }));
    let speak = |ann: &mut Player, ben: &mut Player, count: usize| {
        let frames = tone(400.0, 0, count);
        ann.speak(lobby(), ben.id, &frames);
        let heard = |_: &usize| !next_of(&mut ben.stream, &["VoiceData"]).is_empty();
        assert_eq!((0..count).filter(heard).count(), count);
    };
    speak(&mut ann, &mut ben, 50);
    let http = control.address("http tcp");
    let count = |name: &str| {
        let all = metrics(http);
        all.get(&sample("dissonance", name)).unwrap_or_else(|| panic!("{name}")).parse::<f64>().unwrap()
    };
    assert_eq!((count("active_recordings"), count("recorded_bytes_total")), (1.0, 0.0));
    // No sound.
    ann.say(lobby(), ben.id, &[3]);
    until("it is counted", || count("unrecorded_pieces_total{reason=\"unusable\"}") > 0.0);
    // The disk works again: what waited is written.
    std::fs::remove_file(control.data.join("recordings")).unwrap();
    speak(&mut ann, &mut ben, 20);
    until("it is written", || count("recorded_bytes_total") > 0.0);
    let states = || {
        let events = control.events("recording");
        events.iter().map(|event| event["state"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    until("operators are told", || states().last().is_some_and(|last| last == "written-again"));
    assert_eq!(states(), ["started", "failing", "written-again"]);
    control.ask("DELETE", "/api/v1/recordings/1", &Value::Null);
    let path = file_of(&control.data, "ann");
    until("the file is ended", || is_ended(&path));
    let kept = packets(&path).iter().filter(|packet| !packet.ends_with(&[0xff, 0xfe])).count();
    assert_eq!(kept, 70);
}

/// C-45, C-46: the live audio of a group's call is in one file for each user, sample by sample.
#[test]
fn c_45_a_group_call_is_recorded() {
    let settings = "only = [\"msgpack\"]\n[msgpack]\nport = 0\nrecord-groups = [\"band\"]\n";
    let control = Controlled::start("record-msgpack", settings);
    let address = control.address("msgpack zmtp");
    let said: Vec<i16> = (0..8820_i16).map(|n| n.wrapping_mul(7919)).collect();
    runtime().block_on(async {
        let mut ann = User::connect(address, Dialect::Zmtp).await;
        ann.log_in("ann").await;
        let mut ben = User::connect(address, Dialect::Zmtp).await;
        ben.log_in("ben").await;
        ann.ask(ClientCommand::CreateGroup { group_name: "band".into() }).await;
        ben.ask(ClientCommand::JoinGroup { group_name: "band".into() }).await;
        for user in [&mut ann, &mut ben] {
            user.ask(ClientCommand::JoinCall { group_name: "band".into() }).await;
            let told = user.hear().await;
            assert!(told.starts_with("MsgGroup") && told.contains("is being recorded"), "{told}");
        }
        let begun = control.act("/api/v1/msgpack/recordings", &json!({ "name": "ben" }));
        let told = ben.hear().await;
        assert!(told.starts_with("Whisper") && told.contains("What you say is being recorded"), "{told}");
        for parts in said.chunks(4410) {
            // Ten pieces at once, and a pause.
            for part in parts.chunks(441) {
                ann.send(ClientCommand::Say { samples: part.into() });
            }
            ann.0.flush().await.unwrap();
            for _ in 0..10 {
                assert!(ben.hear().await.starts_with("CallData"));
            }
            tokio::time::sleep(core::time::Duration::from_millis(700)).await;
        }
        ben.send(ClientCommand::Say { samples: said[..441].into() });
        ben.0.flush().await.unwrap();
        assert!(ann.hear().await.starts_with("CallData"));
        let id = begun["id"].as_u64().unwrap();
        until("ben is recorded twice", || {
            let listed = control.get("/api/v1/recordings");
            listed["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| item["files"].as_u64().unwrap())
                .sum::<u64>()
                == 3
        });
        for id in [id, 1] {
            assert_eq!(control.ask("DELETE", &format!("/api/v1/recordings/{id}"), &Value::Null).0, 200);
        }
    });
    until("the files are ended", || {
        let lengths: Vec<u64> =
            files(&control.data).iter().map(|path| path.metadata().unwrap().len()).collect();
        // The two files of the call are as long.
        lengths.len() == 3 && lengths[0] == lengths[1]
    });
    let of = |name: &str| files(&control.data).into_iter().find(|path| path.to_str().unwrap().contains(name));
    let bytes = std::fs::read(of("-1-band-1-ann.wav").unwrap()).unwrap();
    let samples: Vec<i16> =
        bytes[44..].chunks_exact(2).map(|sample| i16::from_le_bytes([sample[0], sample[1]])).collect();
    let sound: Vec<i16> = samples.iter().copied().filter(|sample| *sample != 0).collect();
    let expected: Vec<i16> = said.iter().copied().filter(|sample| *sample != 0).collect();
    assert_eq!(sound, expected);
    let begins = samples.iter().position(|sample| *sample == said[1]).unwrap();
    // Ten pieces in a row, and a pause.
    assert_eq!(samples[begins..begins + 4400], said[1..4401]);
    let longest = samples[begins..].split(|sample| *sample != 0).map(<[i16]>::len).max().unwrap();
    assert!(longest > 20_000, "{longest}");
    if let Some((rate, _)) = read(&of("-2-ben-1-ben.wav").unwrap()) {
        assert_eq!(rate, 44_100);
    }
}

/// C-45: a group is recorded, and its users are told, however Unicode spells its name.
#[test]
fn c_45_a_group_is_recorded_in_each_spelling_of_its_name() {
    let settings = "only = [\"msgpack\"]\n[msgpack]\nport = 0\nrecord-groups = [\"Jose\\u0301\"]\n";
    let control = Controlled::start("record-spelling", settings);
    let address = control.address("msgpack zmtp");
    let (status, code, _) = control.refuses("/api/v1/msgpack/recordings", &json!({ "room": "Jos\u{e9}" }));
    assert_eq!((status, code.as_str()), (409, "refused"));
    runtime().block_on(async {
        let mut ann = User::connect(address, Dialect::Zmtp).await;
        ann.log_in("ann").await;
        ann.ask(ClientCommand::CreateGroup { group_name: "Jos\u{e9}".into() }).await;
        ann.ask(ClientCommand::JoinCall { group_name: "Jos\u{e9}".into() }).await;
        let told = ann.hear().await;
        assert!(told.starts_with("MsgGroup") && told.contains("is being recorded"), "{told}");
        ann.send(ClientCommand::Say { samples: (&[7_i16; 441][..]).into() });
        ann.0.flush().await.unwrap();
        until("it is recorded", || control.get("/api/v1/recordings")["items"][0]["files"] == 1);
    });
}

/// C-45: texts of recordings come from a name that no client has, as none would be told otherwise.
#[test]
fn c_45_no_client_has_the_name_that_texts_come_from() {
    let settings = format!(
        "control-say-as = \"Ann\"\n{}\n[msgpack]\nport = 0\n",
        ONLY.replace("[\"dissonance\"]", "[\"dissonance\", \"msgpack\"]")
    );
    let control = Controlled::start("record-sender", &settings);
    let mut stream = connect(control.address("dissonance tcp"));
    stream.write_all(b"VOXL\x01\x00\x00\x00").unwrap();
    let request = HandshakeRequest { codec: CodecSettings::DEFAULT, name: "Ann".into() };
    stream.write_all(&unit(&Packet::HandshakeRequest(request))).unwrap();
    // It ends, with an error or without.
    while stream.read(&mut [0; 512]).is_ok_and(|len| len > 0) {}
    assert_eq!(control.get("/api/v1/dissonance/members")["total"], 0);
    let address = control.address("msgpack zmtp");
    runtime().block_on(async {
        let mut user = User::connect(address, Dialect::Zmtp).await;
        let (username, password) = ("Ann".into(), "geheim".into());
        let answer = user.ask(ClientCommand::Register { username, password }).await;
        assert!(answer.contains("USER_ALREADY_EXIST"), "{answer}");
        let answer = user.ask(ClientCommand::Login { username, password }).await;
        assert!(answer.contains("USER_ALREADY_CONNECTED"), "{answer}");
    });
}

/// C-45: a call of a client that is recorded has a file for each side: Opus as it came, or samples.
#[test]
fn c_45_both_sides_of_a_call_are_recorded() {
    let settings = "only = [\"opcode\", \"voicelink\"]\n[opcode]\nport = 0\nrelay = \"127.0.0.1\"\n\
                    record-names = [\"alice\"]\n[voicelink]\nport = 0\nrecord-names = [\"bob\"]\n";
    let control = Controlled::start("record-calls", settings);
    let address = control.address("opcode tcp");
    let CarriedCall { alice: _alice, bob: _bob, mut caller, mut callee } = CarriedCall::begin(address);
    let packets_said = tone(400.0, 0, 40);
    for packet in &packets_said {
        caller.write_all(&opcode_packet(7, &[packet], None)).unwrap();
        callee.write_all(&opcode_packet(7, &[packet], None)).unwrap();
        pause(20);
    }
    // Samples of 16 bits, in network order.
    let mut ann = registered(connect(control.address("voicelink tcp")), "ann");
    let mut bob = registered(connect(control.address("voicelink tcp")), "bob");
    ann.write_all(&handshake("bob")).unwrap();
    assert_eq!(next_packet(&mut bob), 0);
    bob.write_all(&packet(4, b"")).unwrap();
    assert_eq!(next_packet(&mut ann), 4);
    let sine = |n: usize| (16_384.0 * (n as f32 / 48.0 * 0.8 * core::f32::consts::TAU).sin()) as i16;
    let said: Vec<i16> = (0..38_400).map(sine).collect();
    for (n, part) in said.chunks(960).enumerate() {
        let bytes: Vec<u8> = part.iter().flat_map(|sample| sample.to_be_bytes()).collect();
        ann.write_all(&packet(6, &bytes)).unwrap();
        // The first five come at once, and lie in a row.
        pause(if n < 5 { 0 } else { 20 });
    }
    // A client that has no call.
    let listed = control.act("/api/v1/voicelink/recordings", &json!({ "name": "ann" }));
    let (status, code, why) = control.refuses("/api/v1/voicelink/recordings", &json!({ "room": "x" }));
    assert!(status == 409 && code == "refused" && why.contains("voicelink has no rooms"), "{why}");
    for id in [1, 2, listed["id"].as_u64().unwrap()] {
        assert_eq!(control.ask("DELETE", &format!("/api/v1/recordings/{id}"), &Value::Null).0, 200);
    }
    let of = |name: &str| files(&control.data).into_iter().find(|path| path.to_str().unwrap().contains(name));
    until("the files are ended", || {
        ["-alice.ogg", "-bob.ogg"].iter().all(|name| of(name).is_some_and(|path| is_ended(&path)))
    });
    until("the samples are written", || {
        of("-voicelink-2-bob-1-ann.wav").is_some_and(|path| path.metadata().unwrap().len() >= 2 * 38_400)
    });
    // Which side's first packet comes first is not known.
    for name in ["-alice.ogg", "-bob.ogg"] {
        assert!(of(name).is_some_and(|path| path.to_str().unwrap().contains("-opcode-1-alice-")));
        let kept = packets(&of(name).unwrap());
        let kept: Vec<&Vec<u8>> = kept.iter().filter(|packet| !packet.ends_with(&[0xff, 0xfe])).collect();
        assert_eq!(kept, packets_said.iter().collect::<Vec<_>>());
        if let Some((_, tenths)) = read(&of(name).unwrap()) {
            assert!(heard(&tenths, 400.0).2 >= 4, "{tenths:?}");
        }
    }
    let path = of("-voicelink-2-bob-1-ann.wav").unwrap_or_else(|| panic!("{:?}", files(&control.data)));
    let bytes = std::fs::read(&path).unwrap();
    let samples: Vec<i16> =
        bytes[44..].chunks_exact(2).map(|sample| i16::from_le_bytes([sample[0], sample[1]])).collect();
    let begins = samples.iter().position(|sample| *sample == said[1]).unwrap();
    assert_eq!(samples[begins..begins + 4000], said[1..4001]);
    if let Some((rate, tenths)) = read(&path) {
        assert!(rate == 48_000 && heard(&tenths, 800.0).2 >= 4, "{tenths:?}");
    }
}

/// While the file `HANG_WHEN` exists, nothing is written at a place of a file.
const HANGS: &str = r#"
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>
ssize_t pwrite64(int fd, const void *bytes, size_t len, off64_t at) {
    const char *when = getenv("HANG_WHEN");
    while (when && access(when, F_OK) == 0) pause();
    return syscall(SYS_pwrite64, fd, bytes, len, at);
}
"#;

/// C-45, F-41: a disk that hangs costs no call; the server ends by its deadline, and says that something is not written.
#[test]
fn c_45_a_disk_that_hangs_costs_no_call() {
    let (source, library) = (file("record-hangs.c", HANGS), file("record-hangs.so", ""));
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status();
    if !compiled.as_ref().is_ok_and(|status| status.success()) {
        return println!("skipped: no C compiler: {compiled:?}");
    }
    let data = folder("record-hangs");
    std::fs::create_dir_all(&data).unwrap();
    let switch = data.join("hang");
    let settings = format!("http = \"127.0.0.1:0\"\ndrain-seconds = 2\n{ONLY}record-rooms = [\"Lobby\"]\n");
    let config = file("record-hangs.toml", &settings);
    let arguments = ["--config", config.to_str().unwrap(), "--data", data.to_str().unwrap()];
    let mut command = command(&arguments);
    command.env("LD_PRELOAD", library).env("HANG_WHEN", &switch).stderr(std::process::Stdio::null());
    let mut server = Server::spawn(&mut command);
    let address = server.address("dissonance tcp");
    let (mut ann, mut ben) = (Player::join(address, b"ann"), Player::join(address, b"ben"));
    ben.listen("Lobby", true);
    assert_eq!(ben.told(), "What is said in this room is being recorded.");
    std::fs::write(&switch, "").unwrap();
    let frames = tone(400.0, 0, 60);
    ann.speak(lobby(), ben.id, &frames);
    for _ in &frames {
        next_of(&mut ben.stream, &["VoiceData"]);
    }
    server.signal("-TERM");
    assert_eq!(server.wait().code(), Some(1), "something is not written");
    drop(server);
    let _ = std::fs::remove_dir_all(data);
}

/// C-45: what is too old, or beyond the room for all, goes as soon as the server runs; and nothing else of the folder.
#[test]
fn c_45_old_recordings_make_room_for_new_ones() {
    for (name, setting, left) in [
        ("days", "recordings-days = 2", &["2", "3"][..]),
        ("mib", "recordings-mib = 2\nrecordings-days = 0", &["2", "3"]),
        ("off", "recordings-mib = 0\nrecordings-days = 0", &["1", "2", "3"]),
    ] {
        let data = folder(&format!("record-{name}"));
        let folder = data.join("recordings");
        std::fs::create_dir_all(&folder).unwrap();
        let of = |n: &str| folder.join(format!("2026010{n}T000000Z-dissonance-{n}-Lobby-1-ann.ogg"));
        for n in ["1", "2", "3"] {
            std::fs::write(of(n), vec![1; 900 << 10]).unwrap();
        }
        let old = std::time::SystemTime::now() - std::time::Duration::from_secs(3 * 86_400);
        std::fs::File::options().write(true).open(of("1")).unwrap().set_modified(old).unwrap();
        std::fs::write(folder.join("notes.txt"), vec![1; 8 << 20]).unwrap();
        let settings = format!("{setting}\n{ONLY}");
        let server = serve(&format!("record-{name}"), &settings, "", &data);
        let expected: Vec<PathBuf> = left.iter().map(|n| of(n)).chain([folder.join("notes.txt")]).collect();
        if left.len() == 3 {
            // Long enough to see that nothing goes.
            pause(500);
        }
        until("they are gone", || files(&data) == expected);
        drop(server);
        let _ = std::fs::remove_dir_all(&data);
    }
}

/// C-45: what makes no sense, and what a protocol does not have, is refused.
#[test]
fn c_45_what_cannot_be_recorded_is_refused() {
    let control = Controlled::start(
        "record-refused",
        "only = [\"dissonance\", \"voicelink\", \"syfala\"]\n[dissonance]\nport = 0\nquic = false",
    );
    let _alice = registered(connect(control.address("voicelink tcp")), "alice");
    for (body, status) in [
        (json!({}), 400),
        (json!({ "room": "x", "name": "y" }), 400),
        (json!({ "room": "" }), 400),
        (json!({ "room": "x".repeat(2000) }), 400),
        (json!({ "room": "x\ny" }), 409),
    ] {
        assert_eq!(control.refuses("/api/v1/dissonance/recordings", &body).0, status, "{body}");
    }
    let (status, code, why) = control.refuses("/api/v1/syfala/recordings", &json!({ "name": "x" }));
    assert_eq!((status, code.as_str()), (409, "unsupported"), "{why}");
    for id in ["1", "x", "18446744073709551616"] {
        assert_eq!(control.ask("DELETE", &format!("/api/v1/recordings/{id}"), &Value::Null).0, 404);
    }
    // As many at a time as there may be.
    let path = "/api/v1/dissonance/recordings";
    (0..64).for_each(|n| drop(control.act(path, &json!({ "room": n.to_string() }))));
    assert_eq!(control.refuses(path, &json!({ "room": "x" })).0, 409);
    assert_eq!(control.get("/api/v1/recordings?limit=5&offset=60")["items"].as_array().unwrap().len(), 4);
}
