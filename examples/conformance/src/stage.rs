//! What a check works with: the endpoint, and the peers that the runner plays.

use crate::check::{Failure, Outcome};
use crate::datagrams::Datagrams;
use crate::log::Log;
use crate::peer::{Cutter, Pause, Peer, pause};
use core::net::SocketAddr;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::cell::RefCell;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};

/// The endpoint, for the whole run.
#[derive(Debug)]
pub(crate) struct Target {
    /// Of the server; or where the runner listens.
    pub(crate) address: SocketAddr,
    pub(crate) timeout: Duration,
    pub(crate) secret: String,
    pub(crate) listening: Option<Listening>,
}

/// Where clients come to.
#[derive(Debug)]
pub(crate) struct Listening {
    pub(crate) socket: Socket,
    pub(crate) command: Vec<String>,
    pub(crate) wait: Duration,
}

#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

/// One check's share of it.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    pub(crate) target: &'a Target,
    pub(crate) log: Log,
    child: RefCell<Option<Child>>,
}

/// Names that are given out.
static NAMES: AtomicUsize = AtomicUsize::new(0);

impl<'a> Stage<'a> {
    pub(crate) fn new(target: &'a Target) -> Self {
        Self { target, log: Log::default(), child: RefCell::new(None) }
    }

    /// A name that no other client has.
    pub(crate) fn name(&self, who: &str) -> String {
        let number = NAMES.fetch_add(1, Ordering::Relaxed);
        format!("{who}-{:x}-{number}", std::process::id())
    }

    /// A client of the runner's, connected to the server.
    pub(crate) fn connect(&self, name: &'static str, cutter: Cutter) -> Outcome<Peer> {
        let Target { address, timeout, .. } = *self.target;
        let stream = TcpStream::connect_timeout(&address, timeout).map_err(|error| {
            Failure::stop(&self.log, name, format!("connecting to {address} failed: {error}"), &[])
        })?;
        Ok(Peer::new(name, stream, cutter, timeout, self.log.clone()))
    }

    /// A socket towards a port of the endpoint.
    pub(crate) fn datagrams(&self, name: &'static str, port: u16) -> Outcome<Datagrams> {
        let Target { mut address, timeout, .. } = *self.target;
        address.set_port(port);
        let any: SocketAddr = if address.is_ipv4() { ([0; 4], 0).into() } else { ([0; 16], 0).into() };
        let socket = UdpSocket::bind(any)
            .map_err(|error| Failure::stop(&self.log, name, format!("no UDP socket: {error}"), &[]))?;
        Ok(Datagrams::new(name, socket, address, timeout, self.log.clone()))
    }
}

/// The runner as the server.
impl Stage<'_> {
    fn listening(&self) -> Outcome<&Listening> {
        let none = || Failure::stop(&self.log, "runner", "the runner does not listen".into(), &[]);
        self.target.listening.as_ref().ok_or_else(none)
    }

    /// Starts the client, if there is a command for that and it has not been started.
    pub(crate) fn start(&self) -> Outcome {
        let listening = self.listening()?;
        let mut child = self.child.borrow_mut();
        let [program, arguments @ ..] = &listening.command[..] else { return Ok(()) };
        if child.is_some() {
            return Ok(());
        }
        let address = self.target.address;
        let fill = |text: &String| {
            let text = text.replace("{address}", &address.to_string());
            text.replace("{host}", &address.ip().to_string()).replace("{port}", &address.port().to_string())
        };
        let started = Command::new(fill(program))
            .args(arguments.iter().map(fill))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        *child = Some(started.map_err(|error| {
            Failure::stop(&self.log, "runner", format!("starting {program} failed: {error}"), &[])
        })?);
        Ok(())
    }

    /// How long a client may take to come.
    pub(crate) fn patience(&self) -> Outcome<Duration> {
        self.listening().map(|listening| listening.wait)
    }

    /// The client under test, once it has connected.
    pub(crate) fn accept(&self, name: &'static str, cutter: Cutter) -> Outcome<Peer> {
        self.start()?;
        let Socket::Tcp(listener) = &self.listening()?.socket else {
            return Err(Failure::stop(&self.log, name, "the runner does not listen by TCP".into(), &[]));
        };
        self.accept_from(listener, self.patience()?, name, cutter)
    }

    /// A connection to a listener of the runner's.
    pub(crate) fn accept_from(
        &self,
        listener: &TcpListener,
        patience: Duration,
        name: &'static str,
        cutter: Cutter,
    ) -> Outcome<Peer> {
        let fails = |what: String| Failure::stop(&self.log, name, what, &[]);
        listener.set_nonblocking(true).map_err(|error| fails(format!("listening failed: {error}")))?;
        let late = Pause::new(patience);
        while !late.is_over() {
            if let Ok((stream, _)) = listener.accept() {
                stream.set_nonblocking(false).map_err(|error| fails(format!("accepting failed: {error}")))?;
                return Ok(Peer::new(name, stream, cutter, self.target.timeout, self.log.clone()));
            }
            pause(Duration::from_millis(5));
        }
        Err(fails(format!("no client connected within {} s", patience.as_secs_f32())))
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.borrow_mut().take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
        // What the client of this check has left is nothing to the next.
        match self.target.listening.as_ref().map(|listening| &listening.socket) {
            Some(Socket::Tcp(listener)) if listener.set_nonblocking(true).is_ok() => {
                while listener.accept().is_ok() {}
            }
            Some(Socket::Udp(socket)) if socket.set_nonblocking(true).is_ok() => {
                while socket.recv_from(&mut [0; 64]).is_ok() {}
                let _ = socket.set_nonblocking(false);
            }
            _ => {}
        }
    }
}
