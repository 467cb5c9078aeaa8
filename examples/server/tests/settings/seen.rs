//! Every setting of the file has a test that shows its effect.

use std::path::{Path, PathBuf};

/// Where the effect of each setting of the file is seen. `port` is 0 nearly everywhere.
const SEEN: &[(&str, &str, &[&str])] = &[
    (
        "control/ctl.rs",
        "c_33_texts_of_operators_come_from_the_name_that_is_set",
        &["control-socket", "control-say-as"],
    ),
    ("control/ctl.rs", "c_32_settings_that_would_give_the_token_away_are_refused", &["control-token-file"]),
    (
        "control/recordings.rs",
        "c_45_what_was_said_is_on_the_disk_after_kill_9",
        &["announce-recordings", "dissonance.record-rooms"],
    ),
    ("msgpack.rs", "m_13_who_joins_the_call_of_echo_hears_itself", &["msgpack.echo"]),
    ("settings/voicelink.rs", "v_15_who_calls_echo_hears_itself", &["voicelink.echo"]),
    ("settings/opcode.rs", "o_12_who_calls_echo_hears_itself", &["opcode.echo"]),
    ("settings/dissonance.rs", "d_20_who_speaks_to_echo_hears_itself", &["dissonance.echo"]),
    ("control/recordings.rs", "c_45_a_group_call_is_recorded", &["msgpack.record-groups"]),
    (
        "control/recordings.rs",
        "c_45_both_sides_of_a_call_are_recorded",
        &["opcode.record-names", "voicelink.record-names"],
    ),
    (
        "control/recordings.rs",
        "c_45_old_recordings_make_room_for_new_ones",
        &["recordings-days", "recordings-mib"],
    ),
    (
        "control/events.rs",
        "c_34_a_webhook_is_sent_what_happens",
        &["control-webhooks", "control-webhook-secret"],
    ),
    (
        "cli.rs",
        "v_13_names_blocks_and_other_settings_come_from_the_file",
        &[
            "only",
            "http",
            "connections",
            "voicelink.port",
            "voicelink.names",
            "voicelink.secrets",
            "voicelink.secrets-only",
            "voicelink.block",
            "voicelink.answer-seconds",
            "voicelink.hide-unknown",
            "voicelink.forward-callee-name",
        ],
    ),
    ("cli.rs", "c_07_bind_serves_ipv6_and_allow_plain_lets_secrets_out", &["bind", "allow-plain"]),
    ("cli.rs", "c_07_dissonance_is_served_by_quic_with_a_certificate_that_is_kept", &["data"]),
    ("cli.rs", "c_07_opcode_is_served_counted_and_ends", &["opcode.secrets"]),
    (
        "cli.rs",
        "c_07_s_05_syfala_is_a_device_that_answers_counts_and_says_goodbye",
        &[
            "syfala.port",
            "syfala.inputs",
            "syfala.outputs",
            "syfala.rate",
            "syfala.channels",
            "syfala.buffer",
            "syfala.sample-type",
            "syfala.sound",
            "syfala.clients",
            "syfala.pin",
        ],
    ),
    (
        "attacks/http.rs",
        "the_page_has_as_many_connections_and_as_long_as_the_settings_say",
        &["http-connections", "http-seconds"],
    ),
    ("settings/addresses.rs", "f_71_encrypted_only_leaves_no_way_in_the_clear", &["encrypted-only"]),
    (
        "settings/profile.rs",
        "f_39_the_profile_can_be_set_for_one_protocol",
        &["profile", "opcode.profile", "msgpack.profile", "dissonance.profile"],
    ),
    (
        "settings/addresses.rs",
        "f_71_per_address_is_the_number_of_connections_of_one_address_but_for_proxies",
        &["per-address", "proxies"],
    ),
    ("settings/addresses.rs", "g_u6_f_71_udp_sockets_is_how_many_there_are_at_one_address", &["udp-sockets"]),
    ("settings/memory.rs", "f_43_memory_is_what_all_protocols_share", &["memory"]),
    ("settings/shutdown.rs", "f_71_drain_seconds_is_how_long_the_end_waits_for_clients", &["drain-seconds"]),
    (
        "settings/shutdown.rs",
        "f_71_close_seconds_is_how_long_a_closed_client_has_for_what_is_queued",
        &["close-seconds"],
    ),
    ("settings/opcode.rs", "f_71_opcode_secrets_only_lets_no_other_names_in", &["opcode.secrets-only"]),
    ("settings/opcode.rs", "f_71_opcode_trust_host_hands_on_what_the_caller_says", &["opcode.trust-host"]),
    (
        "settings/opcode.rs",
        "f_71_opcode_relay_ports_are_the_ones_that_calls_use",
        &["opcode.relay", "opcode.relay-ports"],
    ),
    ("settings/addresses.rs", "f_71_ports_and_certificates_come_from_the_file", PORTS),
    (
        "settings/dissonance.rs",
        "f_71_dissonance_rooms_keep_their_numbers_and_max_rooms_is_a_limit",
        &["dissonance.quic", "dissonance.rooms", "dissonance.max-rooms"],
    ),
    (
        "settings/dissonance.rs",
        "f_71_dissonance_rooms_only_are_the_rooms_there_are",
        &["dissonance.rooms-only"],
    ),
    ("settings/dissonance.rs", "f_71_dissonance_token_is_shown_before_anything_else", &["dissonance.token"]),
    (
        "settings/voicelink.rs",
        "f_71_voicelink_idle_times",
        &["voicelink.idle-seconds", "voicelink.idle-call-seconds"],
    ),
    (
        "msgpack.rs",
        "m_07_c_07_settings",
        &["msgpack.accounts", "msgpack.register", "msgpack.keep", "msgpack.max-contacts"],
    ),
    ("accounts.rs", "m_08_c_07_groups_that_nobody_uses_are_forgotten", &["msgpack.group-days"]),
    ("accounts.rs", "m_08_c_07_messages_that_nobody_fetches_are_dropped", &["msgpack.keep-days"]),
    ("accounts.rs", "m_08_c_07_a_full_mailbox_says_so", &["msgpack.max-kept", "msgpack.max-kept-bytes"]),
    (
        "accounts.rs",
        "c_07_settings_of_accounts",
        &["msgpack.max-accounts", "msgpack.max-database", "msgpack.resume-seconds"],
    ),
    (
        "settings/syfala.rs",
        "f_71_syfala_latency_is_what_is_in_store_and_announce_tells_all_hosts",
        &["syfala.latency-ms", "syfala.announce-ms"],
    ),
    ("operations.rs", "c_07_the_log_has_a_level_and_a_format", &["log", "log-format"]),
    ("operations.rs", "f_14_quic_alone_has_no_way_in_the_clear", &["dissonance.tcp"]),
    ("settings/syfala.rs", "f_71_syfala_networks_are_those_that_are_served", &["syfala.networks"]),
    ("settings/syfala.rs", "f_55_f_71_syfala_follow_is_how_far_off_a_clock_may_be", &["syfala.follow-ppm"]),
];

const PORTS: &[&str] =
    &["tls-cert", "tls-key", "opcode.port", "msgpack.port", "dissonance.port", "dissonance.quic-port"];

/// All sources of the program.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { sources(&path, found) } else { found.push(path) }
    }
}

/// The settings of the file, as the program reads them: `key`, or `section.key`.
fn settings() -> Vec<String> {
    let (mut files, mut keys) = (Vec::new(), Vec::new());
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    sources(&src, &mut files);
    // The requests of the control API look like sections, and are none.
    files.retain(|source| !source.starts_with(src.join("control")));
    for source in files {
        let text = std::fs::read_to_string(source).unwrap();
        let (mut is_read, mut section, mut renamed) = (false, None, None);
        for line in text.lines() {
            let name = line.split_once("struct ").and_then(|(_, rest)| rest.strip_suffix(" {"));
            if let Some(name) = name.filter(|_| core::mem::take(&mut is_read)) {
                section = Some(name.trim_end_matches("GeneralSettings").to_lowercase());
            } else if line.contains("deny_unknown_fields") {
                is_read = true;
            } else if line == "}" {
                section = None;
            } else if let Some((_, name)) = line.split_once("rename = \"").filter(|_| section.is_some()) {
                renamed = name.split('"').next().map(String::from);
            } else if let (Some(section), Some((field, _))) = (&section, line.trim().split_once(": "))
                && !line.trim().starts_with(['/', '#'])
            {
                let key = field.rsplit(' ').next().unwrap_or(field).replace('_', "-");
                let key = renamed.take().unwrap_or(key);
                keys.push(if section.is_empty() { key } else { format!("{section}.{key}") });
            }
        }
    }
    keys.sort();
    keys
}

/// C-07: no setting is without a test that shows its effect, and none of those tests has lost it.
#[test]
fn c_07_f_71_every_setting_of_the_file_has_a_test_that_shows_its_effect() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut shown: Vec<String> =
        SEEN.iter().flat_map(|(_, _, keys)| keys.iter().map(|&key| key.into())).collect();
    let settings = settings();
    // Or in the tests of a protocol that has all of its own in one file.
    for setting in &settings {
        let (section, key) = setting.split_once('.').unwrap_or(("", setting));
        let tests = std::fs::read_to_string(tests.join(format!("{section}.rs"))).unwrap_or_default();
        if !shown.contains(setting) && tests.contains(&format!("\n{key} = ")) {
            shown.push(setting.clone());
        }
    }
    shown.sort();
    assert_eq!(shown, settings, "SEEN says where each setting is seen to work");
    for (source, test, keys) in SEEN {
        let text = std::fs::read_to_string(tests.join(source)).unwrap();
        let begin =
            text.find(&format!("\nfn {test}() {{\n")).unwrap_or_else(|| panic!("{source}: no {test}"));
        let test_text = text[begin + 1..].split("\n}\n").next().unwrap();
        for key in *keys {
            let (section, key) = key.split_once('.').unwrap_or(("", key));
            let found = [
                format!("{key} = "),
                format!("{section}.{key}]"),
                format!("--{key}\""),
                format!("--{section}-{key}\""),
            ];
            assert!(found.iter().any(|text| test_text.contains(text)), "{source}: {test} does not set {key}");
        }
    }
}
