// Shows what /events tells, once a second.
"use strict";

const HISTORY = 120; // seconds in a plot
const byId = (id) => document.getElementById(id);
const copy = (id) => byId(id).content.firstElementChild.cloneNode(true);

/** A number in three digits, as people read it: 1.23 k. */
function short(value, unit = "") {
  const steps = ["", "k", "M", "G", "T"];
  let step = 0;
  while (Math.abs(value) >= 999.5 && step < steps.length - 1) { value /= 1000; step += 1; }
  const digits = step === 0 && Number.isInteger(value) ? 0 : value >= 99.5 ? 0 : value >= 9.95 ? 1 : 2;
  const prefix = `${steps[step]}${unit}`;
  return prefix ? `${value.toFixed(digits)} ${prefix}` : value.toFixed(digits);
}

function seconds(value) {
  if (value === null) return "–";
  return value >= 1 ? `${short(value)} s` : value >= 1e-3 ? `${short(value * 1e3)} ms` : `${short(value * 1e6)} µs`;
}

function duration(value) {
  const [days, hours, minutes] = [86400, 3600, 60].map((unit, at, units) => Math.floor((at ? value % units[at - 1] : value) / unit));
  return days ? `up ${days} d ${hours} h` : hours ? `up ${hours} h ${minutes} min` : `up ${minutes} min`;
}

/** One figure with its last two minutes. */
class Tile {
  constructor(list, label, format) {
    this.element = copy("tile");
    this.format = format;
    this.label = label;
    this.values = [];
    this.value = this.element.querySelector(".value");
    this.svg = this.element.querySelector("svg");
    this.element.querySelector(".label").textContent = label;
    list.append(this.element);
  }

  push(value) {
    this.values.push(value);
    if (this.values.length > HISTORY) this.values.shift();
    const text = value === null ? "–" : this.format(value);
    this.value.textContent = text;
    const known = this.values.filter((one) => one !== null);
    const most = Math.max(...known, 0) || 1;
    const x = (at) => (120 * (at + HISTORY - this.values.length)) / (HISTORY - 1);
    const points = this.values.flatMap((one, at) => (one === null ? [] : [[x(at), 30 - 28 * (one / most)]]));
    const line = points.length > 1 ? `M${points.map((point) => point.map((one) => one.toFixed(1))).join("L")}` : "";
    this.svg.querySelector(".line").setAttribute("d", line);
    this.svg.querySelector(".area").setAttribute("d", line && `${line}L${points.at(-1)[0]},32L${points[0][0]},32Z`);
    const range = known.length ? `between ${this.format(Math.min(...known))} and ${this.format(Math.max(...known))}` : "unknown";
    this.svg.setAttribute("aria-label", `${this.label}, last two minutes: ${range}`);
  }
}

/** The upper bound in seconds of the bucket that a quantile of the last second lies in. */
function quantile(now, before, part) {
  if (!before) return null;
  const counts = now.map(([, count], at) => count - (before[at]?.[1] ?? 0));
  const total = counts.at(-1);
  if (!total) return null;
  const [bound] = now[counts.findIndex((count) => count >= total * part)];
  return bound ?? now.at(-2)[0];
}

const rate = (now, before, elapsed) => (before === undefined || elapsed <= 0 ? null : Math.max(0, now - before) / elapsed);
const bits = (value) => short(value * 8, "bit/s");
const percent = (value) => `${value.toFixed(value < 10 ? 1 : 0)} %`;

class Protocol {
  constructor(name) {
    this.element = copy("protocol");
    this.element.querySelector("h2").textContent = name;
    const tiles = this.element.querySelector(".tiles");
    this.clients = new Tile(tiles, "clients", short);
    this.received = new Tile(tiles, "packets in / s", short);
    this.sent = new Tile(tiles, "packets out / s", short);
    this.bytes = new Tile(tiles, "out", bits);
    this.dropped = new Tile(tiles, "dropped", percent);
    this.latency = new Tile(tiles, "relay p99", seconds);
  }

  show(now, before, elapsed) {
    const listeners = now.listeners.map((listener) => {
      const item = document.createElement("li");
      item.textContent = listener;
      return item;
    });
    this.element.querySelector(".listeners").replaceChildren(...listeners);
    this.element.querySelector(".gauges").textContent = now.gauges.map(([name, value]) => `${short(value)} ${name}`).join(", ");
    const each = (what) => rate(now[what], before?.[what], elapsed);
    const [sent, dropped] = [each("sent_packets"), each("dropped_packets")];
    this.clients.push(now.clients);
    this.received.push(each("received_packets"));
    this.sent.push(sent);
    this.bytes.push(each("sent_bytes"));
    this.dropped.push(sent === null || dropped === null ? null : dropped ? (100 * dropped) / (sent + dropped) : 0);
    this.latency.push(quantile(now.latency, before?.latency, 0.99));
  }
}

const totals = byId("totals");
const tiles = {
  clients: new Tile(totals, "clients", short),
  received: new Tile(totals, "packets in / s", short),
  sent: new Tile(totals, "packets out / s", short),
  bytes: new Tile(totals, "out", bits),
  dropped: new Tile(totals, "dropped / s", short),
  refusals: new Tile(totals, "refused / s", short),
};
const protocols = new Map();
let before = null;
let heard = performance.now();

function state(name, text) {
  const element = byId("state");
  if (element.textContent === text) return;
  element.dataset.state = name;
  element.textContent = text;
}

function show(now) {
  // Another run of the server counts from zero.
  if (before && now.uptime < before.uptime) before = null;
  const elapsed = before ? now.uptime - before.uptime : 0;
  const earlier = new Map((before?.protocols ?? []).map((protocol) => [protocol.name, protocol]));
  byId("version").textContent = now.version;
  byId("uptime").textContent = duration(now.uptime);
  state(now.unready ? "unready" : "live", now.unready ?? "live");
  const sum = (from, what) => from?.protocols.reduce((total, protocol) => total + protocol[what], 0);
  const each = (what) => rate(sum(now, what), sum(before, what), elapsed);
  tiles.clients.push(sum(now, "clients"));
  tiles.received.push(each("received_packets"));
  tiles.sent.push(each("sent_packets"));
  tiles.bytes.push(each("sent_bytes"));
  tiles.dropped.push(each("dropped_packets"));
  tiles.refusals.push(each("refusals"));
  for (const protocol of now.protocols) {
    if (!protocols.has(protocol.name)) {
      const card = new Protocol(protocol.name);
      protocols.set(protocol.name, card);
      byId("protocols").append(card.element);
    }
    protocols.get(protocol.name).show(protocol, earlier.get(protocol.name), elapsed);
  }
  byId("people").hidden = !now.people;
  before = now;
  heard = performance.now();
}

/** The rooms of a protocol, and who is in them; behind them those that are in none. */
function roomsOf({ name, clients }) {
  const rooms = new Map();
  for (const client of clients.items) {
    for (const room of client.rooms.length ? client.rooms : [null]) {
      if (!rooms.has(room)) rooms.set(room, []);
      rooms.get(room).push(client);
    }
  }
  const sorted = [...rooms].sort(([one], [other]) => (one === null) - (other === null) || (one < other ? -1 : 1));
  const shown = sorted.map(([room, members]) => roomCard(name, room, members));
  const more = clients.total - clients.items.length;
  if (more > 0) shown.push(element("p", `${name}: ${more} more`, "notice"));
  return shown;
}

function element(tag, text, kind = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

function roomCard(protocol, room, members) {
  const card = element("section", "", "room");
  const title = element("h3", "");
  // Names are what people chose: text, which turns nothing else around.
  title.append(room === null ? "in no room" : element("bdi", room), element("span", ` ${protocol}, ${members.length}`));
  const list = element("ul", "");
  for (const { name, peer, speaking, muted_voice: muted } of members) {
    const person = element("li", "", "person");
    person.append(element("bdi", name ?? peer));
    if (speaking) person.append(element("span", ", speaking", "hidden"));
    if (muted) person.append(element("span", ", muted", "hidden"));
    person.toggleAttribute("data-speaking", speaking);
    person.toggleAttribute("data-muted", muted);
    list.append(person);
  }
  card.append(title, list);
  return card;
}

const pause = (milliseconds) => new Promise((done) => { setTimeout(done, milliseconds); });
let watching = null;

function sayOfPeople(text) {
  if (byId("people-state").textContent !== text) byId("people-state").textContent = text;
}

function hidePeople(text) {
  watching?.abort();
  watching = null;
  byId("rooms").replaceChildren();
  byId("entry").hidden = false;
  byId("leave").hidden = true;
  sayOfPeople(text);
}

/** Reads one answer, which ends after some seconds. */
async function readPeople(token, signal) {
  const answer = await fetch("api/v1/people", { headers: { Authorization: `Bearer ${token}` }, signal });
  if (!answer.ok) return answer.status;
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    text += part.value;
    const events = text.split("\n\n");
    text = events.pop();
    for (const event of events) {
      const data = event.split("\n").find((line) => line.startsWith("data: "));
      const { protocols } = JSON.parse(data.slice(6));
      const rooms = protocols.flatMap(roomsOf);
      byId("rooms").replaceChildren(...rooms);
      sayOfPeople(rooms.length ? "" : "nobody is here");
    }
  }
  return answer.status;
}

/** The token is kept by this page alone, as long as it is open. */
async function watchPeople(token) {
  hidePeople("");
  const mine = new AbortController();
  watching = mine;
  byId("entry").hidden = true;
  byId("leave").hidden = false;
  while (!mine.signal.aborted) {
    try {
      const status = await readPeople(token, mine.signal);
      if (status === 401) return hidePeople("this is no token of the server");
      if (status !== 200) sayOfPeople(`the server answers ${status}`);
    } catch {
      if (mine.signal.aborted) return undefined;
      sayOfPeople("connection lost, trying again");
    }
    await pause(500);
  }
  return undefined;
}

byId("entry").addEventListener("submit", (event) => {
  event.preventDefault();
  const token = byId("token").value;
  byId("token").value = "";
  watchPeople(token);
});
byId("leave").addEventListener("click", () => hidePeople(""));
// For a screen on a wall: the part behind # is sent to no server.
if (location.hash.startsWith("#token=")) {
  const escaped = location.hash.slice(7);
  history.replaceState(null, "", location.pathname);
  try {
    watchPeople(decodeURIComponent(escaped));
  } catch {
    // No token has such escapes.
  }
}

// The server ends each answer after some seconds, and the browser asks again: only a longer silence is a loss.
const events = new EventSource("events");
events.addEventListener("snapshot", (event) => show(JSON.parse(event.data)));
setInterval(() => {
  if (performance.now() - heard > 4000) state("lost", "connection lost, trying again");
}, 1000);
