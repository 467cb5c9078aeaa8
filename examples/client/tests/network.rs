//! D-08, D-15 and syfala across a network: clients, servers and devices on hosts of their own, in namespaces, with a NAT and a firewall between
//! them. Needs Linux, user namespaces, and the packages iproute2 and nftables.
#![cfg(target_os = "linux")]

mod kit;
#[path = "unity/mono.rs"]
mod mono;
#[path = "../../../tests/kit/namespaces.rs"]
mod namespaces;

use std::path::Path;
use std::process::Command;
use voxwire_server::{Config, Dissonance, Protocol, Wanted};

/// Not a test of its own: the server of the others, a process of its own because its host is another one.
#[test]
#[expect(clippy::disallowed_methods, reason = "the test harness leaves no other way in")]
fn server_for_the_others() {
    let Ok(address) = std::env::var("VOXWIRE_TEST_SERVER") else { return };
    let address: std::net::SocketAddr = address.parse().unwrap();
    let mut config = Config { only: vec![Protocol::DISSONANCE], http: Wanted::No, ..Config::default() };
    config.bind = address.ip();
    (config.of_mut::<Dissonance>().port, config.of_mut::<Dissonance>().quic) = (address.port(), false);
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let _running = voxwire_server::start(config).await.unwrap();
        println!("ready");
        std::future::pending::<()>().await;
    });
}

/// What each program printed; `None` where the system gives us no namespaces.
fn run(scenario: &str) -> Option<impl Fn(&str) -> String> {
    run_with(scenario, Path::new(""))
}

/// Likewise, with the program of the package for Unity.
fn run_with(scenario: &str, unity: &Path) -> Option<impl Fn(&str) -> String> {
    if !namespaces::available() {
        return None;
    }
    let out = kit::temporary(&format!("network-{scenario}"));
    let _ = std::fs::remove_dir_all(&out);
    std::fs::create_dir_all(&out).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/network.sh");
    let output = Command::new("unshare")
        .args(namespaces::UNSHARE)
        .args(["--kill-child", "sh", script.to_str().unwrap(), scenario])
        .env("CLIENT", env!("CARGO_BIN_EXE_voxwire-client"))
        .env("TEST", std::env::current_exe().unwrap())
        .env("UNITY", unity)
        .env("OUT", &out)
        .output()
        .unwrap();
    let read = move |name: &str| std::fs::read_to_string(out.join(name)).unwrap_or_default();
    assert!(
        output.status.success(),
        "{}{}alice: {}carol: {}bob: {}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        read("alice"),
        read("carol"),
        read("bob")
    );
    Some(read)
}

/// F-71, D-08: a network test that does not run is a failure where it has to.
#[test]
fn f_71_where_namespaces_are_required_a_skip_is_a_failure() {
    for (value, required) in [(None, false), (Some(""), false), (Some("0"), false), (Some("1"), true)] {
        assert_eq!(namespaces::must_run(value.map(std::ffi::OsStr::new)), required, "{value:?}");
    }
}

/// From a client's last lines: frames heard, and the longest gap between two of them, in milliseconds.
fn heard(log: &str) -> (u32, u32) {
    let line = log.lines().find(|line| line.starts_with("heard")).unwrap_or_else(|| panic!("{log}"));
    let mut numbers = line.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok());
    (numbers.next().unwrap(), numbers.next_back().unwrap())
}

#[test]
fn d_08_hosts_on_one_network_speak_directly_and_around_a_break_by_the_server() {
    let Some(log) = run("direct") else { return };
    let (alice, bob) = (log("alice"), log("bob"));
    assert!(alice.contains("voice for \"bob\" goes directly"), "{alice}");
    assert!(alice.contains("voice for \"bob\" goes by the server again"), "{alice}");
    let (frames, gap) = heard(&bob);
    // Six seconds of 20 ms, less what the break took.
    assert!(frames >= 240 && gap < 1000, "{bob}");
    let counted = log("direct");
    let packets = counted.split_whitespace().skip_while(|word| *word != "packets").nth(1);
    assert!(packets.unwrap().parse::<u32>().unwrap() >= 80, "{counted}");
}

#[test]
fn d_08_a_nat_that_changes_ports_is_passed() {
    let Some(log) = run("nat") else { return };
    let (carol, bob) = (log("carol"), log("bob"));
    assert!(carol.contains("voice for \"bob\" goes directly"), "{carol}");
    let (frames, gap) = heard(&bob);
    assert!(frames >= 220 && gap < 1000, "{bob}");
}

#[test]
fn d_08_behind_a_firewall_voice_goes_by_the_server() {
    let Some(log) = run("firewall") else { return };
    let (carol, bob) = (log("carol"), log("bob"));
    assert!(!carol.contains("directly") && carol.contains("voice goes by UDP"), "{carol}");
    let (frames, gap) = heard(&bob);
    assert!(frames >= 220 && gap < 1000, "{bob}");
}

#[test]
fn d_15_where_udp_is_blocked_voice_goes_by_tcp_and_comes_back() {
    let Some(log) = run("udp-blocked") else { return };
    let (alice, bob) = (log("alice"), log("bob"));
    let said = |text: &str| alice.lines().position(|line| line.contains(text));
    let (blocked, back) = (
        said("UDP is blocked: 10.9.0.1:4244 does not answer by UDP. Voice goes by TCP"),
        alice.rfind("voice goes by UDP"),
    );
    assert!(blocked.is_some() && back > alice.find("UDP is blocked"), "{alice}");
    let (frames, gap) = heard(&bob);
    assert!(frames >= 330 && gap < 2000, "{bob}");
}

#[test]
fn d_19_a_player_in_c_sharp_speaks_directly_and_around_a_break_by_the_server() {
    let Some(log) = mono::tests().and_then(|unity| run_with("unity-direct", unity)) else { return };
    let (alice, bob) = (log("alice"), log("bob"));
    assert!(alice.contains("voice for bob goes directly"), "{alice}");
    assert!(alice.contains("PathDown: another player is not reached directly any more"), "{alice}");
    let (frames, gap) = heard(&bob);
    // Seven and a half seconds of 20 ms, less what the break took.
    assert!(frames >= 300 && gap < 1000, "{bob}");
    let counted = log("direct");
    let packets = counted.split_whitespace().skip_while(|word| *word != "packets").nth(1);
    assert!(packets.unwrap().parse::<u32>().unwrap() >= 80, "{counted}");
}

#[test]
fn d_19_a_player_in_c_sharp_follows_the_address_that_a_nat_gives_to_another_one() {
    let Some(log) = mono::tests().and_then(|unity| run_with("unity-nat", unity)) else { return };
    let (carol, bob) = (log("carol"), log("bob"));
    assert!(carol.contains("voice for \"bob\" goes directly"), "{carol}");
    assert!(bob.contains("voice for carol goes directly"), "{bob}");
    // `counters udp OUT IN tcp OUT IN direct OUT IN ..`: most of five seconds of 20 ms.
    let counters = bob.lines().find(|line| line.starts_with("counters")).unwrap();
    assert!(counters.split(' ').nth(9).unwrap().parse::<u32>().unwrap() >= 150, "{counters}");
}

#[test]
fn d_19_where_udp_is_blocked_a_player_in_c_sharp_speaks_by_tcp_and_comes_back() {
    let Some(log) = mono::tests().and_then(|unity| run_with("unity-blocked", unity)) else { return };
    let (alice, bob) = (log("alice"), log("bob"));
    let blocked =
        alice.find("UdpBlocked: UDP is blocked: 10.9.0.1 does not answer by UDP. Voice goes by TCP");
    assert!(blocked.is_some() && alice.rfind("UdpUp: voice goes by UDP") > blocked, "{alice}");
    let (frames, gap) = heard(&bob);
    // Eleven seconds, less two until it is noticed.
    assert!(frames >= 400 && gap < 2500, "{bob}");
}

/// A server that vanishes, and one that TCP does not reach any more: both are given up, and reached again when they are back.
#[test]
fn d_19_a_player_in_c_sharp_notices_that_its_server_has_vanished() {
    let Some(unity) = mono::tests() else { return };
    let vanished = "the server does not answer any more, neither by UDP nor by TCP";
    let deaf = "the server answers by UDP, and does not hear this client by TCP any more";
    // Side by side: most of it is waiting.
    std::thread::scope(|scope| {
        for (scenario, expected) in [("unity-vanish", vanished), ("unity-deaf", deaf)] {
            scope.spawn(move || {
                let Some(log) = run_with(scenario, unity) else { return };
                let alice = log("alice");
                let lost = alice.find(&format!("news Disconnected: {expected}"));
                assert!(lost.is_some() && alice.rfind("news UdpUp") > lost, "{scenario}: {alice}");
            });
        }
    });
}

/// D-19: of a name's addresses the first that answers is taken, without a long wait for one that does not. Where the system lets no UDP out,
/// that is told, and voice goes by TCP.
#[test]
fn d_19_a_client_in_c_sharp_takes_the_address_that_answers_and_goes_without_udp() {
    let Some(log) = mono::tests().and_then(|unity| run_with("unity-addresses", unity)) else { return };
    let alice = log("alice");
    assert!(alice.starts_with("news Connected: connected to voice:4244\nnews UdpUp"), "{alice}");
    for bob in [log("bob"), log("bobdirect")] {
        assert!(bob.starts_with("news Connected"), "{bob}");
        assert!(bob.contains("UDP") && !bob.contains("Disconnected"), "{bob}");
    }
}

#[test]
fn s_05_s_09_devices_are_found_across_a_network_and_what_it_loses_is_silence() {
    let Some(log) = run("syfala") else { return };
    let found = log("found");
    assert!(found.contains("10.9.0.3:6911") && found.contains("10.9.0.1:6911"), "{found}");
    assert!(found.contains("2 channels") && found.contains("1 channel,"), "{found}");
    let announced = log("announced");
    assert!(announced.contains("10.9.0.1:6911") && !announced.contains("10.9.0.3"), "{announced}");
    let carol = log("carol");
    assert!(carol.contains("no device answers at 10.9.0.3:6911"), "{carol}");
    let alice = log("alice");
    let summary: serde_json::Value = serde_json::from_str(alice.lines().last().unwrap()).unwrap();
    let number = |name: &str| summary[name].as_u64().unwrap();
    // 1500 messages a second, of 256 bytes.
    assert!(number("messages_heard") > 4000, "{summary}");
    let lost = number("bytes_lost") as f64 / (number("bytes_lost") + number("bytes_heard")) as f64;
    assert!((0.02..0.2).contains(&lost), "{summary}");
    let heard = voxwire_audio::load(&kit::temporary("network-syfala").join("heard.wav")).unwrap().clip;
    // Every frame has its place: four seconds, as far as the clocks of both agree.
    let seconds = heard.seconds();
    assert!((3.5..4.5).contains(&seconds), "{seconds}");
}
