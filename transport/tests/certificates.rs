//! Which certificates a client trusts, and which one a server shows.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use voxwire_transport::tls::rustls::{
    ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection,
};
use voxwire_transport::tls::{self, ServerCertificate};

/// A chain and a key in files.
struct Files {
    certificates: PathBuf,
    key: PathBuf,
}

impl Files {
    fn new(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        Self { certificates: folder.join(format!("{name}.crt")), key: folder.join(format!("{name}.key")) }
    }

    fn write(&self, certificates: &str, key: &KeyPair) {
        std::fs::write(&self.certificates, certificates).unwrap();
        std::fs::write(&self.key, key.serialize_pem()).unwrap();
    }

    fn server(&self) -> Arc<ServerConfig> {
        tls::server_config(&self.certificates, &self.key).unwrap()
    }
}

/// As `openssl req -x509` makes them: its own authority.
fn self_signed(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// The certificate that the server has shown, or why the client has refused it.
fn handshake(client: Arc<ClientConfig>, server: Arc<ServerConfig>, name: &str) -> Result<Vec<u8>, String> {
    let mut client: Connection =
        ClientConnection::new(client, name.to_owned().try_into().unwrap()).unwrap().into();
    let mut server: Connection = ServerConnection::new(server).unwrap().into();
    while client.is_handshaking() || server.is_handshaking() {
        for (from, to) in [(0, 1), (1, 0)] {
            let ends = [&mut client, &mut server];
            let mut bytes = Vec::new();
            while ends[from].wants_write() {
                ends[from].write_tls(&mut bytes).unwrap();
            }
            let mut bytes = &bytes[..];
            while !bytes.is_empty() {
                ends[to].read_tls(&mut bytes).unwrap();
                ends[to].process_new_packets().map_err(|error| error.to_string())?;
            }
        }
    }
    Ok(client.peer_certificates().unwrap()[0].to_vec())
}

/// F-62: a certificate that a client is given is trusted where a server shows it, whatever stands in it.
#[test]
fn f_62_a_given_certificate_is_trusted_as_the_servers_own() {
    let (files, other) = (Files::new("pinned"), Files::new("not-pinned"));
    let pinned = self_signed("game.example");
    files.write(&pinned.pem(), pinned.key());
    let client = tls::client_config(&files.certificates).unwrap();
    for name in ["game.example", "localhost", "192.0.2.1"] {
        assert_eq!(handshake(client.clone(), files.server(), name).unwrap(), pinned.der().to_vec());
    }
    // The same names and another key.
    let twin = self_signed("game.example");
    other.write(&twin.pem(), twin.key());
    let refused = handshake(client, other.server(), "game.example").unwrap_err();
    assert!(refused.contains("invalid peer certificate"), "{refused}");
}

/// F-62: of several given certificates, each is trusted for its own names: none of the servers passes for another one.
#[test]
fn f_62_one_of_several_given_certificates_is_trusted_for_its_names() {
    let (a, b, both) = (Files::new("first"), Files::new("second"), Files::new("bundle"));
    let [first, second] = ["a.example", "b.example"].map(self_signed);
    a.write(&first.pem(), first.key());
    b.write(&second.pem(), second.key());
    std::fs::write(&both.certificates, first.pem() + &second.pem()).unwrap();
    let client = || tls::client_config(&both.certificates).unwrap();
    assert_eq!(handshake(client(), a.server(), "a.example").unwrap(), first.der().to_vec());
    assert_eq!(handshake(client(), b.server(), "b.example").unwrap(), second.der().to_vec());
    let refused = handshake(client(), a.server(), "b.example").unwrap_err();
    assert!(refused.contains("not valid for name"), "{refused}");
}

/// F-62: what an authority has signed is trusted for its names only.
#[test]
fn f_62_an_authority_is_trusted_for_the_names_that_it_has_signed() {
    let (authority, leaf) = (Files::new("authority"), Files::new("leaf"));
    let issuer = self_signed("authority.example");
    authority.write(&issuer.pem(), issuer.key());
    let key = KeyPair::generate().unwrap();
    let signed =
        CertificateParams::new(["game.example".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    leaf.write(&signed.pem(), &key);
    let client = tls::client_config(&authority.certificates).unwrap();
    assert_eq!(handshake(client.clone(), leaf.server(), "game.example").unwrap(), signed.der().to_vec());
    let refused = handshake(client, leaf.server(), "other.example").unwrap_err();
    assert!(refused.contains("not valid for name"), "{refused}");
}

/// F-63: files that an ACME client replaces are used from then on, and broken ones are not.
#[test]
fn f_63_replaced_files_are_used_after_a_reload() {
    let files = Files::new("reloaded");
    let (old, new) = (self_signed("game.example"), self_signed("game.example"));
    files.write(&old.pem(), old.key());
    let certificate = ServerCertificate::from_pem_files(&files.certificates, &files.key).unwrap();
    let server = certificate.server_config().unwrap();
    // Clients resume sessions: each handshake has a client of its own.
    let [before, after] = [(); 2].map(|()| tls::client_config(&files.certificates).unwrap());
    assert!(!certificate.reload().unwrap(), "it is the same");
    // Of two files, the second one has not been replaced yet.
    files.write(&new.pem(), old.key());
    let error = certificate.reload().unwrap_err().to_string();
    assert!(error.contains("reloaded.key: not the key of the certificate in"), "{error}");
    assert_eq!(handshake(before, server.clone(), "localhost").unwrap(), old.der().to_vec());
    files.write(&new.pem(), new.key());
    assert!(certificate.reload().unwrap());
    handshake(after, server.clone(), "localhost").unwrap_err();
    let client = tls::client_config(&files.certificates).unwrap();
    assert_eq!(handshake(client, server, "localhost").unwrap(), new.der().to_vec());
}

/// F-66: a file without what it is asked for says so.
#[test]
fn f_66_a_key_file_that_holds_a_certificate_is_named() {
    let files = Files::new("swapped");
    let pair = self_signed("game.example");
    files.write(&pair.pem(), pair.key());
    let swapped =
        |certificates: &Path, key: &Path| tls::server_config(certificates, key).unwrap_err().to_string();
    let error = swapped(&files.certificates, &files.certificates);
    assert!(error.ends_with("swapped.crt: no private key in PEM form in it"), "{error}");
    let error = swapped(&files.key, &files.key);
    assert!(error.ends_with("swapped.key: no certificate in PEM form in it"), "{error}");
}
