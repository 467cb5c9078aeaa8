//! What a listener hears of a voice, hours of it in seconds: `cargo bench -p voxwire-audio --bench playout`.
//!
//! The playout engine (`Speaker` with its `JitterBuffer`, `Pace` and time stretching) on a clock that is only counted. The codec is perfect:
//! a packet is a frame's number, and a frame that is lost is made up for by itself, so that every glitch that is counted is the
//! engine's. `-- --svg FOLDER` draws three of the runs there.

use core::fmt::Write as _;
use core::time::Duration;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use voxwire_audio::{Error, OPUS_RATE, SPEECH, Speaker, SpeakerFigures, VoiceDecoder, read, resample};

const FRAME: f64 = 0.02;
const SAMPLES: usize = 960;
/// What is played at once, in seconds: as the programs do it.
const ROUND: f64 = 0.01;
const ROUND_SAMPLES: usize = 480;
/// What any network takes.
const WAY: f64 = 0.02;
/// -40 dB of full scale.
const GLITCH: f32 = 0.01;
/// Within so much of what it was, in seconds, a delay is back.
const NEAR: f64 = 0.06;

/// A sound without an end.
struct Content {
    name: &'static str,
    samples: Vec<f32>,
    /// The most that its steps change from one sample to the next: what is more is not its own.
    roughest: f32,
}

impl Content {
    fn new(name: &'static str, samples: Vec<f32>) -> Self {
        let at = |n: usize| samples[n % samples.len()];
        let bend = |n: usize| (at(n + 2) - 2.0 * at(n + 1) + at(n)).abs();
        let roughest = (0..samples.len()).map(bend).fold(0.0, f32::max);
        Self { name, samples, roughest }
    }

    fn all() -> Vec<Arc<Self>> {
        let speech = read(SPEECH).expect("the speech of this package").clip.mono();
        let speech = resample(&speech, OPUS_RATE).expect("two rates").samples;
        let wave = |hz: &[f64]| -> Vec<f32> {
            let sample = |n: u32| -> f64 {
                hz.iter()
                    .map(|hz| (f64::from(n % OPUS_RATE) / f64::from(OPUS_RATE) * hz).fract())
                    .map(|turn| 0.5 * (core::f64::consts::TAU * turn).sin() / hz.len() as f64)
                    .sum()
            };
            (0..OPUS_RATE).map(|n| sample(n) as f32).collect()
        };
        let all = [
            Self::new("speech", speech.iter().map(|sample| *sample as f32).collect()),
            // A major chord, slightly out of tune, with its octave.
            Self::new("chord", wave(&[220.0, 277.0, 330.0, 440.0])),
            Self::new("tone", wave(&[217.0])),
            Self::new("silence", vec![0.0; SAMPLES]),
        ];
        all.into_iter().map(Arc::new).collect()
    }
}

/// A perfect codec.
struct Codec {
    content: Arc<Content>,
    /// The sample that comes next: for the bench to read.
    next: Arc<AtomicUsize>,
}

impl Codec {
    fn go_on(&self, from: usize, samples: &mut [f32]) {
        let all = &self.content.samples;
        samples.iter_mut().enumerate().for_each(|(n, sample)| *sample = all[(from + n) % all.len()]);
        self.next.store(from + samples.len(), Relaxed);
    }
}

impl VoiceDecoder for Codec {
    fn decode(&mut self, packet: &[u8], samples: &mut [f32]) -> Result<usize, Error> {
        let number = packet.try_into().map_or(0, u32::from_le_bytes) as usize;
        self.go_on(number * SAMPLES, samples);
        Ok(samples.len())
    }

    fn recover(&mut self, next: &[u8], samples: &mut [f32]) -> Result<bool, Error> {
        let number = next.try_into().map_or(1, u32::from_le_bytes) as usize;
        self.go_on(number.saturating_sub(1) * SAMPLES, samples);
        Ok(true)
    }

    fn conceal(&mut self, samples: &mut [f32]) -> Result<(), Error> {
        self.go_on(self.next.load(Relaxed), samples);
        Ok(())
    }
}

/// What goes wrong; times in seconds.
#[derive(Clone, Copy, Default)]
struct Scenario {
    name: &'static str,
    minutes: f64,
    /// How much faster the speaker's clock is than the listener's, in millionths.
    ppm: f64,
    /// From 0 to 1.
    loss: f64,
    /// Packets are up to so much later.
    jitter: f64,
    /// They come in groups of so much sound.
    burst: f64,
    /// How many are overtaken, by up to three.
    reorder: f64,
    /// How many are up to 60 ms later, and with them what is behind them.
    held: f64,
    /// Every half minute the network stands still for so long; then everything comes at once.
    stall: f64,
    /// The listener does.
    away: f64,
    /// Every half minute the way becomes so much longer, or shorter again.
    route: f64,
}

const EVERY: f64 = 30.0;

fn scenarios() -> Vec<Scenario> {
    let new = |name, minutes| Scenario { name, minutes, ..Scenario::default() };
    vec![
        new("calm", 60.0),
        Scenario { held: 0.003, ..new("0.3 % held back, up to 60 ms", 60.0) },
        Scenario { held: 0.01, ..new("1 % held back, up to 60 ms", 60.0) },
        Scenario { ppm: -1000.0, ..new("clock −1000 ppm", 60.0) },
        Scenario { ppm: -200.0, ..new("clock −200 ppm", 60.0) },
        Scenario { ppm: 200.0, ..new("clock +200 ppm", 60.0) },
        Scenario { ppm: 1000.0, ..new("clock +1000 ppm", 60.0) },
        Scenario { stall: 0.2, ..new("network stalls, 0.2 s", 10.0) },
        Scenario { stall: 1.0, ..new("network stalls, 1 s", 10.0) },
        Scenario { stall: 5.0, ..new("network stalls, 5 s", 10.0) },
        Scenario { away: 0.2, ..new("listener stalls, 0.2 s", 10.0) },
        Scenario { away: 1.0, ..new("listener stalls, 1 s", 10.0) },
        Scenario { away: 5.0, ..new("listener stalls, 5 s", 10.0) },
        Scenario { burst: 0.1, ..new("bursts of 100 ms", 10.0) },
        Scenario { reorder: 0.1, ..new("10 % overtaken", 10.0) },
        Scenario { loss: 0.01, ..new("1 % lost", 10.0) },
        Scenario { loss: 0.05, ..new("5 % lost", 10.0) },
        Scenario { loss: 0.2, ..new("20 % lost", 10.0) },
        Scenario { jitter: 0.06, ..new("jitter 60 ms", 10.0) },
        Scenario { jitter: 0.06, loss: 0.1, ..new("jitter 60 ms, 10 % lost", 10.0) },
        Scenario { jitter: 0.06, loss: 0.1, ppm: 500.0, ..new("the same, +500 ppm", 60.0) },
        Scenario { route: 0.08, ..new("route ± 80 ms", 10.0) },
        Scenario { route: 0.2, ..new("route ± 200 ms", 10.0) },
    ]
}

struct Random(u64);

impl Random {
    /// From 0 to 1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

impl Scenario {
    /// When a packet that is sent at `sent` comes, if it does.
    fn arrival(&self, sent: f64, until: &mut f64, random: &mut Random) -> Option<f64> {
        if self.held > 0.0 && random.next() < self.held {
            *until = sent + WAY + random.next() * 0.06;
        }
        if random.next() < self.loss {
            return None;
        }
        let mut at = sent;
        if self.burst > 0.0 {
            at = (at / self.burst).ceil() * self.burst;
        }
        at += WAY + random.next() * self.jitter.max(0.002);
        at = at.max(*until);
        if random.next() < self.reorder {
            at += random.next() * 3.0 * FRAME;
        }
        if self.is_long(sent) {
            at += self.route;
        }
        let (began, into) = (at - at % EVERY, at % EVERY);
        // What comes at once comes in its order.
        if began > 0.0 && into < self.stall { Some(began + self.stall + into * 1e-6) } else { Some(at) }
    }

    fn is_long(&self, at: f64) -> bool {
        (at / EVERY) as u64 % 2 == 1
    }

    /// Whether something is over at every half minute, how much later, and how much longer the way is from then on.
    fn event(&self, turn: u64) -> Option<(f64, f64)> {
        let longer = if turn % 2 == 1 { self.route } else { -self.route };
        let lasts = self.stall.max(self.away);
        (lasts > 0.0 || self.route > 0.0).then_some((lasts, longer))
    }
}

/// At one moment, in seconds: how long what is heard was on its way, and what is in store.
#[derive(Clone, Copy)]
struct Moment {
    at: f64,
    latency: f64,
    stored: f64,
    target: f64,
}

struct Outcome {
    moments: Vec<Moment>,
    glitches: u32,
    frames: u64,
    figures: SpeakerFigures,
}

fn play(scenario: &Scenario, content: &Arc<Content>) -> Outcome {
    let next = Arc::<AtomicUsize>::default();
    let codec = Codec { content: content.clone(), next: next.clone() };
    let mut speaker = Speaker::with_decoder(Duration::from_secs_f64(FRAME), 1, Box::new(codec));
    let (mut random, mut held) = (Random(1), 0.0);
    let mut arriving = BinaryHeap::new();
    let (mut sent, mut moments, mut glitches, mut frames) = (0_u32, Vec::new(), 0, 0);
    let rate = 1.0 + scenario.ppm * 1e-6;
    let mut before = [0.0_f32; 2];
    let silence = [0.0; ROUND_SAMPLES];
    for round in 0..(scenario.minutes * 60.0 / ROUND) as u64 {
        let now = round as f64 * ROUND;
        loop {
            // Sent when all of it has been spoken.
            let spoken = f64::from(sent + 1) * FRAME / rate;
            if spoken > now {
                break;
            }
            if let Some(at) = scenario.arrival(spoken, &mut held, &mut random) {
                arriving.push(Reverse(((at * 1e6) as u64, sent)));
            }
            sent += 1;
        }
        while let Some(Reverse((at, number))) =
            arriving.peek().copied().filter(|Reverse((at, _))| *at as f64 <= now * 1e6)
        {
            arriving.pop();
            speaker.insert(Duration::from_micros(at), number, &number.to_le_bytes(), number == 0, false);
        }
        if now > EVERY && now % EVERY < scenario.away {
            continue;
        }
        frames += 1;
        let heard = speaker.render_samples(Duration::from_secs_f64(now), ROUND_SAMPLES);
        let is_heard = heard.is_some();
        let mut glitch = false;
        for &sample in heard.unwrap_or(&silence) {
            let bend = (sample - 2.0 * before[1] + before[0]).abs();
            glitch |= bend > content.roughest + GLITCH;
            before = [before[1], sample];
        }
        glitches += u32::from(glitch && now > 2.0);
        let figures = speaker.figures();
        if is_heard {
            // What was pulled and is not played yet, beside what is in store.
            let (stored, waiting) = (figures.jitter.stored.as_secs_f64(), speaker.waiting().as_secs_f64());
            let spoken = (next.load(Relaxed) as f64 / f64::from(OPUS_RATE) - (waiting - stored)) / rate;
            let target = figures.jitter.target.as_secs_f64();
            moments.push(Moment { at: now, latency: now + ROUND - spoken, stored: waiting, target });
        }
    }
    Outcome {
        moments,
        glitches,
        frames: frames * ROUND_SAMPLES as u64 / SAMPLES as u64,
        figures: speaker.figures(),
    }
}

impl Outcome {
    /// In ms: the mean, and what 95 % are below.
    fn latency(&self) -> (f64, f64) {
        let mut all: Vec<f64> = self.moments.iter().map(|moment| moment.latency * 1e3).collect();
        all.sort_by(f64::total_cmp);
        let mean = all.iter().sum::<f64>() / all.len().max(1) as f64;
        (mean, all.get(all.len() * 95 / 100).copied().unwrap_or(0.0))
    }

    /// The longest time that it took to be back at the delay from before an event; `None` without one.
    fn recovery(&self, scenario: &Scenario) -> Option<f64> {
        let mut worst = None;
        for turn in 1..(scenario.minutes * 60.0 / EVERY) as u64 {
            let (lasts, longer) = scenario.event(turn)?;
            let at = turn as f64 * EVERY;
            let between =
                |from: f64, to: f64| self.moments.iter().filter(move |m| (from..to).contains(&m.at));
            let (sum, count) =
                between(at - 5.0, at).fold((0.0, 0.0), |(sum, n), m| (sum + m.latency, n + 1.0));
            let usual = sum / f64::max(count, 1.0) + longer + NEAR;
            let over = at + lasts;
            let late = between(over, at + EVERY).filter(|m| m.latency > usual).map(|m| m.at + ROUND - over);
            worst = Some(late.fold(worst.unwrap_or(0.0), f64::max));
        }
        worst
    }
}

/// The picture's measures.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 56.0;
const TOP: f64 = 48.0;

/// Two lines over time, and a third that is aimed at.
fn draw(path: &Path, title: &str, moments: &[Moment], from: f64, to: f64) -> std::io::Result<()> {
    let shown: Vec<&Moment> = moments.iter().filter(|m| (from..to).contains(&m.at)).collect();
    let most = shown.iter().map(|m| m.latency.max(m.stored).max(m.target)).fold(0.1, f64::max) * 1e3;
    let step = [20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0]
        .into_iter()
        .find(|step| most / step <= 6.0)
        .unwrap_or(5000.0);
    let top = (most / step).ceil() * step;
    let x = |at: f64| LEFT + (at - from) / (to - from) * WIDTH;
    let y = |ms: f64| TOP + HEIGHT - ms / top * HEIGHT;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"{LEFT}\" y=\"20\" font-size=\"15\">{title}</text>\n",
        LEFT + WIDTH + 36.0,
        TOP + HEIGHT + 44.0
    );
    draw_axes(&mut svg, (top, step), (from, to));
    type Of = fn(&Moment) -> f64;
    let lines: [(&str, &str, Of); 3] = [
        ("#c33", "delay, mouth to ear, in ms", |m| m.latency),
        ("#36c", "in store", |m| m.stored),
        ("#393", "aimed at", |m| m.target),
    ];
    for (n, (colour, label, of)) in (0_u32..).zip(lines) {
        // As many points as can be seen; and where nobody was heard, nothing.
        // Not each round of a frame: what is in store goes up and down with them.
        let each = shown.len().div_ceil(1440).max(2);
        let mut path = String::new();
        let mut last = f64::NEG_INFINITY;
        for group in shown.chunks(each) {
            let Some(moment) = group.iter().max_by(|a, b| of(a).total_cmp(&of(b))) else { continue };
            let pen = if moment.at - last > ROUND * (2 * each + 1) as f64 { 'M' } else { 'L' };
            let _ = write!(path, "{pen}{:.1} {:.1}", x(moment.at), y(of(moment) * 1e3));
            last = moment.at;
        }
        let at = LEFT + f64::from(n) * 230.0;
        let _ = writeln!(
            svg,
            "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.4\"/>\
             <path d=\"M{at} 34h20\" stroke=\"{colour}\" stroke-width=\"3\"/><text x=\"{}\" y=\"38\">{label}</text>",
            at + 26.0
        );
    }
    svg += "</svg>\n";
    std::fs::write(path, svg)
}

/// Milliseconds up to `top`, in steps, and the time.
fn draw_axes(svg: &mut String, (top, step): (f64, f64), (from, to): (f64, f64)) {
    let x = |at: f64| LEFT + (at - from) / (to - from) * WIDTH;
    let y = |ms: f64| TOP + HEIGHT - ms / top * HEIGHT;
    for n in 0..=(top / step).round() as u32 {
        let ms = f64::from(n) * step;
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {y:.1}h{WIDTH}\" stroke=\"#ddd\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{ms}</text>",
            LEFT - 6.0,
            y(ms) + 4.0,
            y = y(ms)
        );
    }
    for n in 0..=6_u32 {
        let at = from + (to - from) * f64::from(n) / 6.0;
        let unit = if to - from > 300.0 { format!("{:.0} min", at / 60.0) } else { format!("{at:.0} s") };
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{unit}</text>",
            x(at),
            TOP + HEIGHT + 20.0
        );
    }
}

fn pictures(folder: &Path, speech: &Arc<Content>) -> std::io::Result<()> {
    let find = |name| scenarios().into_iter().find(|scenario| scenario.name == name).expect("one of them");
    let stall = play(&find("network stalls, 1 s"), speech);
    draw(
        &folder.join("playout-stall.svg"),
        "The network stands still for 1 s, at 60 s",
        &stall.moments,
        57.0,
        69.0,
    )?;
    let drift = play(&find("clock +1000 ppm"), speech);
    draw(&folder.join("playout-drift.svg"), "A speaker's clock 1000 ppm fast", &drift.moments, 0.0, 1800.0)?;
    let route = play(&find("route ± 80 ms"), speech);
    draw(
        &folder.join("playout-route.svg"),
        "The way becomes 80 ms longer at 30 s, shorter at 60 s",
        &route.moments,
        20.0,
        80.0,
    )
}

fn main() {
    let contents = Content::all();
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--svg") {
        let folder = PathBuf::from(arguments.get(at + 1).map_or(".", String::as_str));
        pictures(&folder, &contents[0]).expect("a folder to draw to");
        return;
    }
    println!(
        "| | delay: mean, p95 | back within | concealed | left out | stretched | glitches an hour: {} |",
        contents.iter().map(|content| content.name).collect::<Vec<_>>().join(", ")
    );
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for scenario in scenarios() {
        let outcomes: Vec<Outcome> = contents.iter().map(|content| play(&scenario, content)).collect();
        // Of speech, unless it is said otherwise.
        let Outcome { frames, figures, .. } = &outcomes[0];
        let (mean, p95) = outcomes[0].latency();
        let back = outcomes.iter().filter_map(|outcome| outcome.recovery(&scenario)).reduce(f64::max);
        let percent = |part: u64, of: u64| part as f64 / of.max(1) as f64 * 100.0;
        let samples = frames * SAMPLES as u64;
        let jitter = figures.jitter;
        let glitches = outcomes.iter().map(|outcome| f64::from(outcome.glitches) / scenario.minutes * 60.0);
        println!(
            "| {} | {mean:.0}, {p95:.0} ms | {} | {:.2} % | {:.2} % | {:.2} % | {} |",
            scenario.name,
            back.map_or_else(|| "–".into(), |back| format!("{back:.1} s")),
            percent(jitter.lost + jitter.underruns, *frames),
            percent(jitter.overflow + jitter.late, *frames),
            percent(figures.shortened + figures.lengthened, samples),
            glitches.map(|count| format!("{count:.0}")).collect::<Vec<_>>().join(", "),
        );
    }
}
