//! F-62: TLS that works at once, and mistakes whose errors say what mends them.
#![allow(missing_docs, clippy::unwrap_used)]

mod kit;

use kit::{Server, temporary};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::net::TcpListener;
use std::path::PathBuf;
use voxwire_server::{Config, Dissonance, Protocol};

/// An authority, and a server on `localhost` with a certificate that it has signed.
struct Signed {
    authority: PathBuf,
    server: Server,
}

fn signed(name: &str) -> Signed {
    signed_for(Protocol::MSGPACK, name)
}

fn signed_for(protocol: Protocol, name: &str) -> Signed {
    signed_with(protocol, name, |_| {})
}

fn signed_with(protocol: Protocol, name: &str, change: impl FnOnce(&mut Config)) -> Signed {
    let file = |end: &str, text: &str| {
        let path = temporary(&format!("{name}-{end}"));
        std::fs::write(&path, text).unwrap();
        path
    };
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let (chain, key) = (file("chain.pem", &leaf.pem()), file("key.pem", &key.serialize_pem()));
    let server = Server::with(protocol, |config| {
        config.tls = Some((chain, key));
        change(config);
    });
    Signed { authority: file("authority.pem", &issuer.pem()), server }
}

#[test]
fn f_62_authorities_are_those_of_a_file_or_of_the_system() {
    let Signed { authority, server } = signed("authority");
    let file = format!("--tls-ca {} --tls-name localhost", authority.display());
    let (code, _, errors) = server.client(&format!("register --user ann {file}"));
    assert_eq!(code, Some(0), "{errors}");
    let mut command = server.command("login --user ann --tls --tls-name localhost");
    let output = command.env("SSL_CERT_FILE", &authority).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn f_62_a_certificate_that_is_not_trusted_says_what_is_missing() {
    let (Signed { authority, server }, other) = (signed("trusted"), signed("other"));
    let nothing = temporary("no-authorities");
    std::fs::create_dir_all(&nothing).unwrap();
    let with = |flags: &str, system: &PathBuf| {
        let mut command = server.command(&format!("login --user ann {flags}"));
        let output = command.env("SSL_CERT_FILE", system).env("SSL_CERT_DIR", &nothing).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for (flags, expected) in [
        (format!("--tls-ca {}", authority.display()), "--tls-name NAME says which of its names to expect"),
        (
            format!("--tls-ca {} --tls-name localhost", other.authority.display()),
            "other-authority.pem holds neither the server's certificate nor the authority that has signed it",
        ),
        (
            "--tls --tls-name localhost".into(),
            "if it is the server's own, get a copy of it and say --tls-ca FILE",
        ),
    ] {
        let (code, errors) = with(&flags, &other.authority);
        assert!(code == Some(1) && errors.contains(expected), "{flags}: {errors}");
    }
    let empty = temporary("no-authorities.pem");
    std::fs::write(&empty, "").unwrap();
    let (code, errors) = with("--tls", &empty);
    assert!(code == Some(1) && errors.contains("set SSL_CERT_FILE, or say --tls-ca FILE"), "{errors}");
}

/// By QUIC, which keeps nothing but the alert, the advice is the same.
#[test]
fn f_62_quic_gives_the_advice_that_tls_gives() {
    let nothing = temporary("no-authorities-quic");
    std::fs::create_dir_all(&nothing).unwrap();
    let other = signed("other-quic").authority;
    let Signed { authority, server } = signed_with(Protocol::DISSONANCE, "quic", |config| {
        config.of_mut::<Dissonance>().quic = true;
    });
    for (flags, expected) in [
        (format!("--tls-ca {}", authority.display()), "--tls-name NAME says which of its names to expect"),
        (
            format!("--tls-ca {} --tls-name localhost", other.display()),
            "other-quic-authority.pem holds neither the server's certificate nor the authority that has signed it",
        ),
        (
            "--tls --tls-name localhost".into(),
            "if it is the server's own, get a copy of it and say --tls-ca FILE",
        ),
    ] {
        let mut command = server.command_to(server.at("quic"), &format!("--quic rooms {flags}"));
        let output = command.env("SSL_CERT_FILE", &other).env("SSL_CERT_DIR", &nothing).output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && errors.contains(expected), "{flags}: {errors}");
    }
}

#[test]
fn f_62_tls_to_a_server_without_it_says_so() {
    let Signed { authority, .. } = signed("unused");
    for protocol in [Protocol::VOICELINK, Protocol::MSGPACK, Protocol::DISSONANCE] {
        let server = Server::start(protocol);
        let action = match protocol {
            Protocol::VOICELINK => "call bob --name ann",
            Protocol::MSGPACK => "login --user ann",
            _ => "join Lobby --name ann",
        };
        let (code, _, errors) =
            server.client(&format!("{action} --tls-ca {} --encrypted-only", authority.display()));
        let expected = "does not speak TLS at this port";
        assert!(code == Some(1) && errors.contains(expected), "{protocol:?}: {errors}");
    }
}

#[test]
fn f_62_a_connection_in_the_clear_to_a_server_with_tls_says_so() {
    for (protocol, action) in [
        (Protocol::VOICELINK, "call bob --name ann"),
        (Protocol::OPCODE, "contacts --name ann"),
        (Protocol::MSGPACK, "login --user ann"),
        (Protocol::DISSONANCE, "join Lobby --name ann"),
    ] {
        let Signed { server, .. } = signed_for(protocol, "unasked");
        let (code, out, errors) = server.client(action);
        // It is said before anybody gives up.
        let early = "the server does not answer yet: perhaps the server speaks TLS (--tls-ca FILE or --tls)";
        assert!(protocol != Protocol::OPCODE || out.contains(early), "{out}");
        let expected = match protocol {
            // A log-in may look like the beginning of a TLS record, and an alert is a packet of an unknown kind.
            Protocol::OPCODE => "perhaps the server speaks TLS (--tls-ca FILE or --tls)",
            _ => "the server speaks TLS, and this connection is in the clear: say --tls-ca FILE",
        };
        assert!(code == Some(1) && errors.contains(expected), "{protocol:?}: {errors}");
    }
}

#[test]
fn f_62_another_protocols_port_says_so() {
    for (protocol, other, action) in [
        (Protocol::MSGPACK, Protocol::DISSONANCE, "login --user ann"),
        (Protocol::DISSONANCE, Protocol::MSGPACK, "join Lobby --name ann"),
    ] {
        let (server, other) = (Server::start(protocol), Server::start(other));
        let output = server.command_to(other.address, action).output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.contains("names the port of another protocol"), "{protocol:?}: {errors}");
    }
}

/// By TLS the server has shown that it speaks TLS, or has not: the advice is not to speak TLS.
#[test]
fn f_62_tls_to_a_port_that_answers_nothing_says_so() {
    let Signed { authority, server } = signed("silent");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let tls = format!("--tls-ca {} --tls-name localhost", authority.display());
    for (protocol, address, action) in [
        (Protocol::OPCODE, server.address, "contacts --name ann"),
        (Protocol::OPCODE, silent.local_addr().unwrap(), "contacts --name ann"),
        (Protocol::MSGPACK, silent.local_addr().unwrap(), "login --user ann"),
    ] {
        let own = Server::start(protocol);
        let output = own.command_to(address, &format!("{action} {tls}")).output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(
            errors.contains("names the port of another protocol")
                && !errors.contains("the server speaks TLS"),
            "{protocol:?}: {errors}"
        );
    }
}

/// C-22: `check` says whether a certificate is trusted, and until when it is valid; also of a server that it was not to ask by TLS.
#[test]
fn c_22_check_says_until_when_a_certificate_is_valid() {
    let other = signed("check-other").authority;
    let nothing = temporary("check-no-authorities");
    std::fs::create_dir_all(&nothing).unwrap();
    let Signed { authority, server } = signed_with(Protocol::DISSONANCE, "check", |config| {
        config.of_mut::<Dissonance>().quic = true;
    });
    let trusted = format!("--tls-ca {} --tls-name localhost", authority.display());
    let untrusted = format!("--tls-ca {} --tls-name localhost", other.display());
    let (tcp, quic) = (server.address, server.at("quic"));
    for (address, flags, code, tls, problem) in [
        (tcp, trusted.clone(), 0, "trusted", None),
        (tcp, untrusted.clone(), 1, "not trusted", Some("holds neither the server's certificate")),
        (tcp, String::new(), 1, "not trusted", Some("the server speaks TLS: say --tls-ca FILE")),
        (quic, format!("{trusted} --quic"), 0, "trusted", None),
        (
            quic,
            format!("{untrusted} --quic"),
            1,
            "not trusted",
            Some("holds neither the server's certificate"),
        ),
    ] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_voxwire-client"));
        command.env("SSL_CERT_FILE", &other).env("SSL_CERT_DIR", &nothing);
        command.args(["--server", &address.to_string(), "check", "--only", "dissonance", "--json"]);
        let output = command.args(flags.split_whitespace()).output().unwrap();
        let out = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(code), "{flags}: {out}");
        let row = out.lines().find(|line| line.contains("\"check\"")).unwrap_or_else(|| panic!("{out}"));
        let row: serde_json::Value = serde_json::from_str(row).unwrap();
        assert_eq!(
            (row["tls"].as_str(), row["valid_until"].as_str()),
            (Some(tls), Some("4096-01-01")),
            "{row}"
        );
        match problem {
            None => assert!(row["problem"].is_null(), "{row}"),
            Some(problem) => assert!(row["problem"].as_str().unwrap().contains(problem), "{row}"),
        }
    }
}
