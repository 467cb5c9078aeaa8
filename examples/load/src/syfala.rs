//! Streams to a device that echoes them: what a user says comes back to it.

mod incoming;
mod numbers;

use crate::error::{Cause, cause};
use crate::listener::Listener;
use crate::payload::Stamp;
use crate::plan::Plan;
use crate::protocols::{Entry, Grouping};
use crate::user::{Member, live};
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;
use incoming::{Happening, Incoming};
use numbers::{Block, Numbers};
use tokio::sync::mpsc::{Receiver, channel};
use tokio::time::{Instant, sleep_until};
use voxwire_core::{PeerId, Rate, Session as _};
use voxwire_server::{Config, Syfala, SyfalaSound};
use voxwire_syfala::{Client, ClientCommand, ClientSettings, DEFAULT_PORT, Network};
use voxwire_transport::{Handle, Hub, HubSettings, Listener as Socket};

pub(crate) const ENTRY: Entry = Entry {
    name: "syfala",
    port: DEFAULT_PORT,
    quic_port: None,
    encrypted: false,
    grouping: Grouping::Alone,
    ordered: false,
    frames: None,
    ramp: 100,
    descriptors: 2,
    advice: "the device has to echo, and to take so many clients: `sound = \"echo\"` and `clients` under [syfala]; \
             it takes 4 clients of one address, loopback excepted, and answers the networks of `networks` alone",
    configure,
    live: |run, user| Box::pin(live::<Musician>(run, user)),
};

fn configure(config: &mut Config, plan: &Plan) {
    let device = config.of_mut::<Syfala>();
    device.sound = SyfalaSound::Echo;
    device.clients = plan.users as usize;
    // There is one clock.
    device.follow = 0.0;
}

/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);
/// What has come in and has not been looked at, of one user: a second at 48 kHz.
const INCOMING: usize = 4096;
/// Blocks of silence that are made up for at once.
const AT_A_TIME: usize = 8;

/// A user of a device.
pub(crate) struct Musician {
    hub: Handle<Client>,
    events: Receiver<Happening>,
    server: PeerId,
    block: Block,
    numbers: Numbers,
    started: bool,
    /// Frames are due, so there is no silence.
    talking: bool,
    /// When the next silence is due.
    silence: Instant,
    /// Frames that it says in all.
    frames: u32,
}

impl Musician {
    fn tell(&self, command: ClientCommand<'_>) -> Result<(), Cause> {
        let told = self.hub.call(|client, now| client.handle_command(now, command));
        told.map_err(|refusal| cause!("not possible here: {refusal}"))
    }

    /// Sends what is to be heard as `number`; 0 is silence.
    fn play(&mut self, number: u32) -> Result<(), Cause> {
        let Self { hub, block, server, .. } = self;
        let play = ClientCommand::Play { server: *server, stream: 0, samples: block.of(number) };
        let played = hub.call(|client, now| client.handle_command(now, play));
        played.map_err(|refusal| cause!("not said: {refusal}"))
    }

    /// Between frames there is silence, as real clients send it.
    fn play_silence(&mut self) -> Result<(), Cause> {
        let now = Instant::now();
        for _ in 0..AT_A_TIME {
            if self.silence > now {
                return Ok(());
            }
            self.play(0)?;
            self.silence += self.block.lasts();
        }
        self.silence = self.silence.max(now);
        Ok(())
    }
}

/// A socket of its own for each user.
fn socket(server: SocketAddr) -> std::io::Result<Socket> {
    let any = match server {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    Socket::bind_udp(any)?.with_broadcast(vec![server])
}

/// Waits for the device at `server`.
async fn find(events: &mut Receiver<Happening>, server: SocketAddr) -> Result<(PeerId, Block), Cause> {
    loop {
        match events.recv().await {
            Some(Happening::Found { server: id, from, block }) if from == Some(server) => {
                return Ok((id, block.map_err(Cause)?));
            }
            Some(_) => {}
            None => return Err(cause!("the socket is closed")),
        }
    }
}

impl Member for Musician {
    async fn join(plan: &Plan, _user: u32) -> Result<Self, Cause> {
        let address = plan.server.ok_or_else(|| cause!("no server"))?;
        let listener = socket(address).map_err(|error| cause!("a socket: {error}"))?;
        let mut client = Client::new(ClientSettings::DEFAULT);
        let networks = [Network::host(address.ip())];
        // Neither is refused: there is room for a byte.
        let _ =
            client.handle_command(voxwire_core::Instant::ZERO, ClientCommand::Seek { networks: &networks });
        let _ = client.handle_command(voxwire_core::Instant::ZERO, ClientCommand::Discover);
        let (sender, mut events) = channel(INCOMING);
        let settings =
            HubSettings { datagrams: Rate { per_second: 200_000, burst: 200_000 }, ..HubSettings::DEFAULT };
        let hub = Hub::spawn(vec![listener], client, Incoming::new(sender), settings);
        let hub = hub.map_err(|error| cause!("a socket: {error}"))?;
        let (server, block) = find(&mut events, address).await?;
        let numbers = Numbers::new(&block);
        let (started, talking, silence, frames) = (false, false, Instant::now(), 0);
        let member = Self { hub, events, server, block, numbers, started, talking, silence, frames };
        member.tell(ClientCommand::Accept { server })?;
        member.tell(ClientCommand::StopDiscovery)?;
        Ok(Self { frames: plan.frames(member.rate(plan)), ..member })
    }

    fn set_up(&mut self) -> Result<bool, Cause> {
        self.tell(ClientCommand::StartIo { server: self.server }).map(|()| true)
    }

    fn is_ready(&self) -> bool {
        self.started
    }

    fn rate(&self, _plan: &Plan) -> f64 {
        1.0 / self.block.lasts().as_secs_f64()
    }

    async fn next(&mut self, listener: &mut Listener) -> Result<(), Cause> {
        let is_silent = self.started && !self.talking;
        let happening = tokio::select! {
            happening = self.events.recv() => happening,
            () = sleep_until(self.silence), if is_silent => return self.play_silence(),
        };
        match happening {
            Some(Happening::Heard { number, samples, at }) => {
                self.numbers.hear(number, samples, at, listener);
            }
            Some(Happening::Missed) => {
                listener.error(cause!("this program could not keep up with what came in"));
            }
            Some(Happening::Started) => (self.started, self.silence) = (true, Instant::now()),
            Some(Happening::Found { .. }) => {}
            Some(Happening::Refused) => return Err(cause!("the device refuses to start")),
            Some(Happening::Interrupted) => return Err(cause!("the device stopped by itself")),
            Some(Happening::Lost(why)) => return Err(cause!("the device is gone: {why}")),
            None => return Err(cause!("the socket is closed")),
        }
        Ok(())
    }

    fn say(&mut self, stamp: Stamp) -> Result<(), Cause> {
        self.talking = stamp.sequence + 1 < self.frames;
        self.silence = Instant::now() + self.block.lasts();
        let number = self.numbers.say(stamp);
        self.play(number)
    }

    async fn leave(self) {
        self.hub.drain(GOODBYE).await;
    }
}
