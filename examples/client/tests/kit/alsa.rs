//! A machine with sound, as ALSA's plug-ins make it: its loudspeaker and its microphone are pipes, which this end empties and fills as
//! fast as a device would.
#![allow(dead_code, unreachable_pub, missing_docs)]

use std::fs::{File, OpenOptions, create_dir_all, write};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::{Sender, channel};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

/// Frames per second of the devices, which have one channel and samples of 32 bits in floating point.
pub const RATE: u32 = 16_000;

/// A machine whose default devices are silent, and which has a loudspeaker `spk` and a microphone `mic`.
pub struct Machine {
    folder: PathBuf,
    /// Opened, so that no program waits for the other end of a pipe when it opens a device.
    pipes: Option<[File; 2]>,
}

impl Machine {
    pub fn new(name: &str) -> Self {
        let folder = super::temporary(&format!("alsa-{name}"));
        let _ = std::fs::remove_dir_all(&folder);
        create_dir_all(&folder).unwrap();
        let (spk, mic) = (folder.join("spk"), folder.join("mic"));
        for pipe in [&spk, &mic] {
            assert!(Command::new("mkfifo").arg(pipe).status().unwrap().success());
        }
        let pcm = |name: &str, file: &str, description: &str| {
            format!(
                "pcm.{name} {{ type plug slave {{ pcm {{ type file {file} format raw slave.pcm {{ type null }} }} \
                 format FLOAT_LE rate {RATE} channels 1 }} hint {{ show on description \"{description}\" }} }}\n"
            )
        };
        let mut config = String::from(
            "defaults.namehint { showall on basic on extended on }\npcm.!default { type null }\n",
        );
        config += &pcm("spk", &format!("file \"{}\"", spk.display()), "A loudspeaker");
        config += &pcm("mic", &format!("file \"/dev/null\" infile \"{}\"", mic.display()), "A microphone");
        write(folder.join("asound.conf"), config).unwrap();
        let pipes = Some([open(&spk), open(&mic)]);
        Self { folder, pipes }
    }

    /// Has a program see this machine's devices.
    pub fn on(&self, command: &mut Command) {
        command.env("ALSA_CONFIG_PATH", self.folder.join("asound.conf"));
    }

    /// Takes the devices away that nobody listens to, or speaks into.
    pub fn unplug(&mut self) {
        self.pipes = None;
    }

    /// What comes out of the loudspeaker from now on.
    pub fn listen(&self) -> Work<Vec<f64>> {
        let mut pipe = open(&self.folder.join("spk"));
        Work::start(move |over| {
            let (mut heard, start) = (Vec::new(), Instant::now());
            let mut bytes = vec![0; 1 << 16];
            let mut taken = 0;
            while !over() {
                sleep(Duration::from_millis(5));
                let due = due(start) * 4;
                while taken < due {
                    let most = (due - taken).min(bytes.len());
                    match pipe.read(&mut bytes[..most]) {
                        Ok(came) => {
                            taken += came;
                            heard.extend_from_slice(&bytes[..came]);
                        }
                        // Nobody plays.
                        Err(error) if error.kind() == ErrorKind::WouldBlock => taken = due,
                        Err(error) => panic!("{error}"),
                    }
                }
            }
            while let Ok(came @ 1..) = pipe.read(&mut bytes) {
                heard.extend_from_slice(&bytes[..came]);
            }
            let samples = heard.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()));
            samples.map(f64::from).collect()
        })
    }

    /// The microphone, and what it is to hear; silence otherwise.
    pub fn microphone(&self) -> (Work<()>, Sender<Vec<f64>>) {
        let mut pipe = open(&self.folder.join("mic"));
        let (mouth, said) = channel::<Vec<f64>>();
        let work = Work::start(move |over| {
            let (start, mut given) = (Instant::now(), 0);
            let mut samples = Vec::new().into_iter();
            while !over() {
                sleep(Duration::from_millis(5));
                if let Ok(more) = said.try_recv() {
                    samples = more.into_iter();
                }
                let due = due(start);
                let block = (given..due).flat_map(|_| (samples.next().unwrap_or(0.0) as f32).to_le_bytes());
                // Where nobody listens, the pipe is full.
                let _ = pipe.write(&block.collect::<Vec<u8>>());
                given = due;
            }
        });
        (work, mouth)
    }
}

/// Frames that a device has had since then.
fn due(start: Instant) -> usize {
    (start.elapsed().as_secs_f64() * f64::from(RATE)) as usize
}

/// Both ends, so that neither has to wait for the other.
fn open(pipe: &Path) -> File {
    const NONBLOCK: i32 = 0o4000;
    OpenOptions::new().read(true).write(true).custom_flags(NONBLOCK).open(pipe).unwrap()
}

/// A device at work.
pub struct Work<T> {
    over: Arc<AtomicBool>,
    thread: JoinHandle<T>,
}

impl<T: Send + 'static> Work<T> {
    fn start(work: impl FnOnce(&dyn Fn() -> bool) -> T + Send + 'static) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let seen = over.clone();
        Self { over, thread: std::thread::spawn(move || work(&|| seen.load(SeqCst))) }
    }

    pub fn end(self) -> T {
        self.over.store(true, SeqCst);
        self.thread.join().unwrap()
    }
}
