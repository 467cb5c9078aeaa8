//! Starting the protocols, and ending them.

use crate::certificate::Certificates;
use crate::config::Config;
use crate::control::{self, Access, Control, ControlSettings, Moderator, Socket, SocketFile};
use crate::figure::Figure;
use crate::logging::LogViolations;
use crate::names::quoted;
use crate::protocols::Protocol;
use crate::recording::{Recorder, Tap, What};
use crate::refusals::Refusals;
use crate::status::Exchanges;
use crate::{Error, descriptors, memory, status};
use core::fmt;
use core::future::Future;
use core::net::SocketAddr;
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use core::time::Duration;
use std::io;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;
use voxwire_core::{Handler, Moderation, Session};
use voxwire_transport::{Drained, Handle, Hub, HubSettings, HubStats, Listener, tls};

/// One bound socket, as it is announced: `PROTOCOL TRANSPORT ADDR:PORT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listening {
    /// Which protocol.
    pub protocol: &'static str,
    /// Over what.
    pub transport: &'static str,
    /// Where.
    pub address: SocketAddr,
}

impl fmt::Display for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.protocol, self.transport, self.address)
    }
}

/// A protocol being served: what the rest of the program knows of it.
pub(crate) trait Service: Send + Sync + fmt::Debug {
    /// The protocol's name.
    fn protocol(&self) -> &'static str;

    /// Connections that take a descriptor, those that are being closed included.
    fn connections(&self) -> usize {
        0
    }

    /// How many there may be from now on.
    fn set_max_connections(&self, _most: usize) {}

    /// Its clients, for control.
    fn moderator(&self) -> Option<&dyn Moderator> {
        None
    }

    /// What to count, in a fixed order.
    fn figures(&self) -> Vec<Figure>;

    /// Why it cannot do all that it is there for, if it cannot.
    fn unready(&self) -> Option<String> {
        None
    }

    /// Says goodbye to every client. What takes longer than `deadline` is given up: connections have to be ended a little before.
    fn drain(&self, deadline: Duration) -> Pin<Box<dyn Future<Output = Drained> + Send + '_>>;
}

/// A hub and what is counted of it: the service of most protocols.
pub(crate) struct HubService<S: Session> {
    protocol: &'static str,
    hub: Handle<S>,
    /// Its clients, for control.
    moderator: Option<fn(&Handle<S>) -> &dyn Moderator>,
    /// What is counted beside the connections.
    figures: fn(&S) -> Vec<Figure>,
    refusals: Option<Arc<Refusals>>,
    tap: Option<Arc<Tap>>,
}

impl<S: Session<Framing: Send> + Send + 'static> HubService<S> {
    /// Serves `session` on `listeners`. `figures` reads what is counted beside the connections.
    pub(crate) fn spawn(
        protocol: Protocol,
        listeners: Vec<Listener>,
        session: S,
        handler: impl Handler<S> + Send + 'static,
        settings: HubSettings,
        figures: fn(&S) -> Vec<Figure>,
    ) -> Result<Self, Error> {
        let handler = LogViolations::new(protocol.name(), handler);
        let hub = Hub::spawn(listeners, session, handler, settings)?;
        Ok(Self { protocol: protocol.name(), hub, moderator: None, figures, refusals: None, tap: None })
    }

    /// The same, with clients that operators can do something about, and that may be refused.
    pub(crate) fn moderated(self, refusals: Arc<Refusals>) -> Self
    where
        Handle<S>: Moderator,
    {
        Self { moderator: Some(|hub| hub), refusals: Some(refusals), ..self }
    }

    /// The same, with voice that can be recorded. What the settings say is, from now on.
    pub(crate) fn recorded(self, tap: Arc<Tap>, always: impl IntoIterator<Item = What>) -> Result<Self, Error>
    where
        S: Moderation,
    {
        record_always(&self.hub, &tap, always)?;
        Ok(Self { tap: Some(tap), ..self })
    }
}

/// Begins the recordings that the settings ask for.
pub(crate) fn record_always<S: Moderation<Framing: Send> + Send + 'static>(
    hub: &Handle<S>,
    tap: &Tap,
    always: impl IntoIterator<Item = What>,
) -> Result<(), Error> {
    always.into_iter().try_for_each(|what| {
        let name = quoted(what.name());
        let begun = hub.call(|session, now| tap.start(session, now, what, "settings"));
        begun.map(drop).map_err(|failure| {
            Error::Usage(format!("{}: {name} cannot be recorded: {failure}", tap.protocol()))
        })
    })
}

impl<S: Session> fmt::Debug for HubService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubService").field("protocol", &self.protocol).finish_non_exhaustive()
    }
}

impl<S: Session<Framing: Send> + Send + 'static> Service for HubService<S> {
    fn protocol(&self) -> &'static str {
        self.protocol
    }

    fn connections(&self) -> usize {
        let HubStats { connections, closing, .. } = self.hub.stats();
        connections.saturating_add(closing)
    }

    fn set_max_connections(&self, most: usize) {
        self.hub.set_max_connections(most);
    }

    fn moderator(&self) -> Option<&dyn Moderator> {
        self.moderator.map(|moderator| moderator(&self.hub))
    }

    fn figures(&self) -> Vec<Figure> {
        let mut own = self.hub.call(|session, _| (self.figures)(session));
        own.extend(self.refusals.iter().flat_map(|refusals| refusals.figures()));
        own.extend(self.tap.iter().flat_map(|tap| tap.figures()));
        Figure::of_hub(&self.hub.stats(), own)
    }

    fn drain(&self, deadline: Duration) -> Pin<Box<dyn Future<Output = Drained> + Send + '_>> {
        Box::pin(self.hub.drain(for_goodbyes(deadline)))
    }
}

/// Whether clients should be sent here.
#[derive(Debug)]
pub(crate) struct Readiness {
    services: Arc<[Box<dyn Service>]>,
    draining: AtomicBool,
}

impl Readiness {
    /// Why not, if they should not.
    pub(crate) fn reason(&self) -> Option<String> {
        if self.draining.load(Relaxed) {
            return Some("draining".into());
        }
        let reason = |service: &dyn Service| Some(format!("{}: {}", service.protocol(), service.unready()?));
        self.services.iter().find_map(|service| reason(&**service))
    }
}

/// A server at work.
#[derive(Debug)]
pub struct Running {
    services: Arc<[Box<dyn Service>]>,
    listening: Vec<Listening>,
    certificates: Arc<Certificates>,
    readiness: Arc<Readiness>,
    control: Option<Arc<Control>>,
    recorder: Arc<Recorder>,
    exchanges: Exchanges,
    /// Who may use the API, and where that is read again.
    access: Option<(Arc<Access>, ControlSettings)>,
    _socket: Option<SocketFile>,
    /// What goes on for as long as the server runs.
    tasks: JoinSet<()>,
}

/// Reads the files that `config` names, as far as that binds and changes nothing.
///
/// # Errors
/// A certificate or a token cannot be used.
pub fn check(config: &Config) -> Result<(), Error> {
    Certificates::of(config)?;
    config.control.tokens()?;
    config.warnings().iter().for_each(|warning| tracing::warn!("{warning}"));
    Ok(())
}

/// Starts everything that `config` asks for, on the current tokio runtime.
///
/// # Errors
/// A port cannot be bound, or a certificate cannot be used. Nothing is left running then.
pub async fn start(config: Config) -> Result<Running, Error> {
    let certificates = Certificates::of(&config)?;
    let (control, access) = (Control::open(&config)?, Access::of(&config)?.map(Arc::new));
    let recorder = Arc::new(Recorder::open(&config, control.as_ref().map(|control| control.events())));
    let (socket, socket_file) = config.control.socket.as_deref().map(Socket::bind).transpose()?.unzip();
    let tls = certificates.tcp()?;
    config.warnings().iter().for_each(|warning| tracing::warn!("{warning}"));
    let http = status::bind(config.http).await?;
    let mut ports = Ports {
        config: &config,
        tls,
        certificates,
        control: control.clone(),
        recorder: recorder.clone(),
        bound: Vec::new(),
    };
    let mut services: Vec<Box<dyn Service>> = Vec::new();
    for protocol in &config.only {
        services.push(config.section(*protocol).start(&config, &mut ports)?);
    }
    let services: Arc<[Box<dyn Service>]> = services.into();
    let readiness = Readiness { services: services.clone(), draining: AtomicBool::new(false) };
    let mut running = Running {
        services,
        listening: ports.bound,
        certificates: Arc::new(ports.certificates),
        readiness: Arc::new(readiness),
        control,
        recorder,
        exchanges: Exchanges::default(),
        access: access.map(|access| (access, config.control.clone())),
        _socket: socket_file,
        tasks: JoinSet::new(),
    };
    running.work(&config);
    if let Some(http) = http {
        running.serve_http(http, &config)?;
    }
    if let Some(socket) = socket {
        running.serve_socket(socket, &config);
    }
    Ok(running)
}

/// Binds ports, and remembers which.
pub(crate) struct Ports<'c> {
    config: &'c Config,
    tls: Option<Arc<tls::rustls::ServerConfig>>,
    certificates: Certificates,
    control: Option<Arc<Control>>,
    recorder: Arc<Recorder>,
    bound: Vec<Listening>,
}

impl Ports<'_> {
    pub(crate) fn tcp(&mut self, protocol: &'static str, port: u16) -> Result<Listener, Error> {
        let listener = self.bind(protocol, port, Listener::bind)?;
        let transport = if self.tls.is_some() { "tls" } else { "tcp" };
        self.note(protocol, &[transport], &listener)?;
        self.with_tls(listener)
    }

    pub(crate) fn zmtp(&mut self, protocol: &'static str, port: u16) -> Result<Listener, Error> {
        let listener = self.bind(protocol, port, Listener::bind)?;
        let transport = if self.tls.is_some() { "tls" } else { "zmtp" };
        self.note(protocol, &[transport], &listener)?;
        self.with_tls(listener)
    }

    pub(crate) fn lanes(&mut self, protocol: &'static str, port: u16) -> Result<Listener, Error> {
        let transport = if self.tls.is_some() { "tls" } else { "tcp" };
        if self.config.encrypted_only {
            let listener = self.bind(protocol, port, Listener::bind_tcp_units)?;
            self.note(protocol, &[transport], &listener)?;
            return self.with_tls(listener);
        }
        let sockets = self.config.udp_sockets();
        let bind = |address| Listener::bind_tcp_udp(address)?.with_udp_sockets(sockets);
        let listener = self.bind(protocol, port, bind)?;
        self.note(protocol, &[transport, "udp"], &listener)?;
        self.with_tls(listener)
    }

    pub(crate) fn quic(&mut self, protocol: &'static str, port: u16) -> Result<Listener, Error> {
        let certificate = self.certificates.quic(self.config)?;
        let listener = self.bind(protocol, port, |address| Listener::bind_quic(address, &certificate))?;
        self.note(protocol, &["quic"], &listener)?;
        Ok(listener)
    }

    fn bind(
        &self,
        what: &'static str,
        port: u16,
        bind: impl FnOnce(SocketAddr) -> io::Result<Listener>,
    ) -> Result<Listener, Error> {
        let address = SocketAddr::new(self.config.bind, port);
        let listener = bind(address).map_err(|error| Error::Listen { what, address, error })?;
        Ok(self.with_gate(listener))
    }

    fn note(
        &mut self,
        protocol: &'static str,
        transports: &[&'static str],
        listener: &Listener,
    ) -> io::Result<()> {
        let address = listener.local_addr()?;
        transports.iter().for_each(|&transport| self.announce(protocol, transport, address));
        Ok(())
    }

    /// A socket that the protocol has bound itself is announced, too.
    pub(crate) fn announce(&mut self, protocol: &'static str, transport: &'static str, address: SocketAddr) {
        self.bound.push(Listening { protocol, transport, address });
    }

    /// Closed to addresses that are banned.
    pub(crate) fn with_gate(&self, listener: Listener) -> Listener {
        match self.control.clone() {
            Some(control) => listener.with_gate(move |address| control.lets_in(address)),
            None => listener,
        }
    }

    /// What the protocols' handlers tell of their clients.
    pub(crate) fn control(&self) -> Option<Arc<Control>> {
        self.control.clone()
    }

    /// What the clients of a protocol say goes there to be recorded.
    pub(crate) fn tap(&self, protocol: Protocol) -> Arc<Tap> {
        self.recorder.tap(protocol.name()).expect("every protocol has one").clone()
    }

    fn with_tls(&self, listener: Listener) -> Result<Listener, Error> {
        match &self.tls {
            Some(tls) => Ok(listener.with_tls(tls.clone())?),
            None => Ok(listener),
        }
    }
}

impl Running {
    /// What goes on beside the protocols: certificates are read again, events are told, and descriptors are shared.
    fn work(&mut self, config: &Config) {
        self.tasks.spawn(self.certificates.clone().watch());
        if let Some(control) = &self.control {
            control.serves(self.services.clone());
            control.records(self.recorder.clone());
            control::spawn_webhooks(control, &config.control);
        }
        if let Some(total) = config.descriptors {
            let (weights, most) = (descriptors::weights(config).collect(), most_connections(config));
            tokio::spawn(descriptors::share(total, most, self.services.clone(), weights));
        }
    }

    /// Serves the status page, and beside it the control API, if there are tokens for it.
    fn serve_http(&mut self, http: TcpListener, config: &Config) -> Result<(), Error> {
        self.listening.push(Listening { protocol: "http", transport: "tcp", address: http.local_addr()? });
        let access = self.access.as_ref().map(|(access, _)| access.clone());
        let (services, readiness) = (self.services.clone(), self.readiness.clone());
        let page = status::routes(services, readiness, self.listening.clone(), config, access.clone());
        let api = self.control.clone().filter(|_| access.is_some());
        let api = api.map(|control| control::routes(control, access));
        let limits = status::Limits { connections: config.http_connections, deadline: config.http_deadline };
        tokio::spawn(status::serve(
            http,
            page.merge(api.unwrap_or_default()),
            limits,
            self.exchanges.clone(),
        ));
        Ok(())
    }

    /// Serves the control API by its local socket.
    fn serve_socket(&mut self, socket: Socket, config: &Config) {
        let Some(control) = self.control.clone() else { return };
        let routes = control::routes(control, None);
        self.tasks.spawn(control::serve_socket(socket, routes, config.http_deadline, self.exchanges.clone()));
    }

    /// What is listened on.
    pub fn listening(&self) -> &[Listening] {
        &self.listening
    }

    /// Where `protocol` is served over `transport`.
    pub fn address(&self, protocol: &str, transport: &str) -> Option<SocketAddr> {
        let found = self.listening.iter().find(|at| at.protocol == protocol && at.transport == transport);
        found.map(|at| at.address)
    }

    /// What answers as long as all protocols do: for a watchdog.
    pub fn pulse(&self) -> impl Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + 'static {
        let services = self.services.clone();
        move || {
            let services = services.clone();
            // Each takes the lock of its session, which may be held for ever.
            let beat = move || services.iter().for_each(|service| drop(service.figures()));
            Box::pin(async move { drop(tokio::task::spawn_blocking(beat).await) })
        }
    }

    /// Waits until an operator ends the server by its control; for ever without any.
    pub async fn asked_to_end(&self) {
        match &self.control {
            Some(control) => control.ended().await,
            None => core::future::pending().await,
        }
    }

    /// Reads what may change while the server runs: the files of its certificates, and that of the tokens of control.
    pub async fn reload(&self) {
        let (certificates, access) = (self.certificates.clone(), self.access.clone());
        let read = move || {
            certificates.reload();
            let Some((access, settings)) = access else { return };
            match settings.tokens() {
                Ok(Some(tokens)) => access.replace(tokens),
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(%error, "the tokens cannot be read again: the former ones stay")
                }
            }
        };
        let _ = tokio::task::spawn_blocking(read).await;
    }

    /// Says goodbye to every client, and writes what has to be kept: all protocols at the same time, and all of it within `deadline`.
    /// Clients that do not take their goodbye by then are cut off. Answers by HTTP and events are sent to their end, for one second at most.
    /// Returns `false` if something that had to be written was not.
    pub async fn drain(self, deadline: Duration) -> bool {
        let end = Instant::now() + deadline;
        self.readiness.draining.store(true, Relaxed);
        if let Some(control) = &self.control {
            control.draining();
        }
        let services = self.services;
        // Each on its own task: their deadlines run together.
        let tasks = (0..services.len()).map(|index| {
            let services = services.clone();
            tokio::spawn(async move {
                let service = &services[index];
                let protocol = service.protocol();
                match tokio::time::timeout(deadline, service.drain(deadline)).await {
                    Ok(Drained { told, cut_off }) => {
                        tracing::info!(protocol, told, cut_off, "said goodbye");
                        true
                    }
                    Err(_) => {
                        tracing::error!(protocol, ?deadline, "not finished by the deadline");
                        false
                    }
                }
            })
        });
        let mut finished = true;
        for task in tasks.collect::<Vec<_>>() {
            finished &= task.await.unwrap_or(false);
        }
        let told = async {
            // A request may still cause events. One that does not take its answer may not keep events from others.
            let _ = tokio::time::timeout(LAST_ANSWERS / 2, self.exchanges.finish_short()).await;
            if let Some(control) = &self.control {
                control.finish_events().await;
            }
            tokio::join!(self.exchanges.finish_short(), self.exchanges.finish_lasting());
        };
        let rest = end.saturating_duration_since(Instant::now());
        let told = tokio::time::timeout(rest.min(LAST_ANSWERS), told);
        let (written, _) = tokio::join!(finish_recordings(self.recorder, rest), told);
        finished & written
    }
}

/// Waits for what was said last to be written, for so long at most. False if it is not.
async fn finish_recordings(recorder: Arc<Recorder>, timeout: Duration) -> bool {
    let written = tokio::task::spawn_blocking(move || recorder.finish(timeout)).await.unwrap_or(false);
    if !written {
        tracing::error!("recordings are not written to their end: the disk hangs");
    }
    written
}

/// How long a drain waits for the readers of events, and of answers by HTTP.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// The caps of a protocol's hub, from the settings.
pub(crate) fn hub_settings(config: &Config, protocol: Protocol) -> HubSettings {
    let settings = HubSettings {
        max_connections: descriptors::first_share(config, most_connections(config)),
        max_per_address: config.per_address,
        // Once for each protocol, for as long as the program runs.
        exempt: config.proxies.clone().leak(),
        close_timeout: config.close,
        ..HubSettings::DEFAULT
    };
    memory::within(config, protocol, settings)
}

/// A little more than the sessions take: those choose who has to go.
pub(crate) const fn most_connections(config: &Config) -> usize {
    config.connections.saturating_add(config.connections / 8).saturating_add(16)
}

/// How much of a drain's `deadline` clients have to take their goodbye: the rest is for the end of it, and for the disk.
pub(crate) fn for_goodbyes(deadline: Duration) -> Duration {
    (deadline * 3 / 4).saturating_sub(Duration::from_millis(500))
}
