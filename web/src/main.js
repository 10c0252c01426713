// The page: its state, and what happens when a hand touches something.

import { copy, element, enlarged, latest, paint, save, Turns } from "./draw.js";
import * as engines from "./engine.js";
import { gif } from "./gif.js";
import { LatentMap, readMap } from "./map.js";
import { Differences, Model, readManifest } from "./model.js";
import { between, drawnSeed, seedOf } from "./numbers.js";
import { Own } from "./own.js";
import { fromHash, toHash } from "./share.js";
import { Sliders } from "./sliders.js";
import { javascript, python } from "./snippets.js";
import { Wall } from "./wall.js";

const find = (name) => document.querySelector(`#${name}`);
const folder = new URL("model/", document.baseURI);
const REST = 200; // milliseconds without a movement before strips and address follow

function say(message) {
  find("error").textContent = message;
}

/** Work whose errors are said on the page, which lives on. */
const followed = (work) => async (...values) => {
  try {
    await work(...values);
  } catch (error) {
    say(String(error.message ?? error));
  }
};

/** The same for what a hand began: what was said before is over. */
const guarded = (work) => (...values) => {
  say("");
  return followed(work)(...values);
};

function progress(received, total) {
  if (document.body.dataset.state !== "loading") return; // what was still on its way when another part failed
  const share = Math.min(1, received / total);
  find("loading").setAttribute("aria-valuenow", Math.round(100 * share));
  find("loading").firstElementChild.style.width = `${100 * share}%`;
  find("verified").textContent = `loading, ${(received / 1e6).toFixed(1)} of ${(total / 1e6).toFixed(1)} MB`;
}

class Page {
  constructor(model) {
    this.model = model;
    this.state = { seed: "0", start: "0", ...model.defaults };
    this.noise = null;
    this.sampled = Array(model.width).fill(0);
    this.ends = { a: null, b: null };
    this.samples = new Turns();
    this.pictures = new Turns(); // of one's own, which any other choice of a latent outdates
    this.handed = {}; // dimension: value, by hand since the last sample was asked for
    this.differences = null;
    this.render = latest(followed(async () => {
      const [levels] = await model.decode([this.sliders.latent], this.state.detail ? this.noise : null);
      this.levels = levels;
      this.look(levels);
    }));
    this.sliders = new Sliders(find("sliders"), model, (dimension, value) => {
      this.handed[dimension] = value;
      this.caption(this.words, true);
      this.moved();
    }, (levels) => this.look(levels ?? this.levels));
    this.wall = new Wall(find("samples"), model, (choice, ...sample) => {
      this.ask();
      this.show(choice);
      this.hold(choice, ...sample);
    });
    this.own = new Own(model, () => this.pictures.begin(), (latent) => {
      this.take(latent, "your picture's latent");
      if (this.differences && !("mean" in this.differences.found)) this.verifyEncodings();
    }, guarded);
    new IntersectionObserver(([{ intersectionRatio }]) => (find("companion").hidden = intersectionRatio >= 0.4), { threshold: 0.4 })
      .observe(find("picture"));
    this.wire();
    this.show(this.state);
  }

  /** Begin a request for a sample: the last one counts, and what a hand moves until its answer comes stays moved. */
  ask() {
    this.handed = {};
    this.pictures.end();
    return this.samples.begin();
  }

  /** Put a latent into the sliders by hand. */
  take(latent, words) {
    this.pictures.end();
    Object.assign(this.handed, latent);
    this.caption(words);
    this.sliders.set(latent);
    this.moved();
  }

  /** Make a sample the one at hand; latent: another one in its place, with all else of it. */
  hold(state, sampled, noise, label, latent = sampled) {
    Object.assign(this, { state, noise, sampled: Array.from(sampled) });
    const name = this.model.classes[label];
    this.sampledWords = `sample ${state.start} of seed ${state.seed}${name ? `, ${name}` : ""}`;
    this.caption(this.sampledWords, latent !== sampled || Object.keys(this.handed).length > 0);
    this.sliders.set(Array.from(latent, (value, at) => this.handed[at] ?? value));
    this.moved();
    document.querySelector("main").inert = false; // there is a model that answers
  }

  /** Levels on the large picture, and on the small one that stands in where that is out of sight. */
  look(levels) {
    if (!levels) return;
    for (const name of ["picture", "companion"]) paint(find(name), levels, this.model.shape);
  }

  caption(words, changed = false) {
    this.words = words;
    clearTimeout(this.noted);
    const text = changed ? `${words}, changed` : words;
    if (find("caption").textContent !== text) find("caption").textContent = text;
  }

  /** Words in the caption's place for a moment. */
  note(words) {
    const before = find("caption").textContent;
    this.noted = setTimeout(() => (find("caption").textContent = before), 2000);
    find("caption").textContent = words;
  }

  moved() {
    this.sliders.stopStrips();
    this.render();
    clearTimeout(this.rest);
    this.rest = setTimeout(followed(async () => {
      const same = this.sliders.latent.every((value, at) => Math.abs(value - this.sampled[at]) < 5e-4);
      history.replaceState(null, "", toHash({ ...this.state, latent: same ? null : this.sliders.latent }));
      await this.sliders.drawStrips(this.state.detail ? this.noise : null);
    }), REST);
  }

  /** Read the form, draw the sample it names, and fill the wall. */
  async sample(latent) {
    const seed = seedOf(find("seed").value);
    const start = seedOf(find("start").value, "an index");
    const label = Number(find("label").value);
    if (label >= 0) find("prior").value = "fitted";
    const choice = {
      seed: String(seed), start: String(start), label,
      prior: this.model.manifest.graphs.latents ? find("prior").value : "normal",
      temperature: find("temperature").valueAsNumber,
      detail: find("detail").checked && this.model.detail !== null,
    };
    const newest = this.ask();
    const drawn = await newest(this.model.draw(seed, start, 1, choice));
    if (!drawn) return;
    this.hold(choice, drawn.latents[0], drawn.noise?.[0] ?? null, drawn.labels[0], latent);
    await this.wall.fill(choice);
  }

  /** Put a state into the form. */
  show(state) {
    for (const name of ["seed", "start", "label", "prior", "temperature"]) find(name).value = state[name];
    find("temperature-value").textContent = state.temperature.toFixed(2);
    find("detail").checked = state.detail;
  }

  /** Replay the golden vectors: the encoder's not yet, because it is the largest file and nobody has asked for it. */
  async verify() {
    if (this.differences) return;
    const response = await fetch(new URL("golden.json", folder)).catch(() => null);
    this.golden = response?.ok ? await response.json().catch(() => null) : null;
    if (!this.golden) throw new Error("expected golden.json beside the model, got none; the model is not verified");
    const differences = new Differences(this.golden.tolerances ?? {});
    await this.model.replayDraws(this.golden, differences).catch((error) => {
      throw error instanceof TypeError ? new Error("expected golden vectors in golden.json, got others; copy the model again") : error;
    });
    this.differences = differences;
    this.tell(" …", "; the encoder's follow");
  }

  async verifyEncodings() {
    try {
      await this.model.replayEncodings(this.golden, this.differences);
      this.tell();
    } catch {
      this.tell(", without encoder", "; the encoder did not load"); // whoever brings a picture hears why
    }
  }

  tell(more = "", still = "") {
    const { failed, largest } = this.differences;
    find("verified").textContent = failed.length
      ? `not verified: ${failed.join(", ").replaceAll("_", " ")} differ too much`
      : `verified, largest difference ${largest.toFixed(7)}${more}`;
    find("verified").dataset.passed = String(!failed.length);
    find("verified").dataset.covers = "mean" in this.differences.found ? "all" : "draws";
    find("proof").textContent = `Golden vectors replayed here, largest differences: ${this.differences}${still}.`;
  }

  wire() {
    const { model } = this;
    const sample = guarded(() => this.sample());
    for (const name of ["seed", "start", "label", "temperature", "detail"]) find(name).addEventListener("change", sample);
    find("temperature").addEventListener("input", ({ target }) => {
      find("temperature-value").textContent = target.valueAsNumber.toFixed(2);
    });
    find("prior").addEventListener("change", () => {
      if (find("prior").value === "normal") find("label").value = "-1";
      sample();
    });
    find("choices").addEventListener("submit", (event) => event.preventDefault());
    find("dice").addEventListener("click", () => {
      Object.assign(find("seed"), { value: String(drawnSeed()) });
      find("start").value = "0";
      sample();
    });
    find("again").addEventListener("click", () => this.take(this.sampled, this.sampledWords));
    find("centre").addEventListener("click", () => this.take(Array(model.width).fill(0), "the middle of the latent space"));
    for (const end of ["a", "b"]) {
      find(`keep-${end}`).addEventListener("click", () => {
        this.ends[end] = [...this.sliders.latent];
        paint(find(`end-${end}`), this.levels, model.shape);
        find("share").value = end === "a" ? 0 : 1;
      });
    }
    find("share").addEventListener("input", guarded(async () => {
      const { a, b } = this.ends;
      if (!a || !b) throw new Error("expected two garments to go between, got fewer; keep a first and a second one");
      this.take(Array.from(between(a, b, find("share").valueAsNumber)), "between the two that you kept");
    }));
    find("theme").addEventListener("click", () => {
      const dark = matchMedia("(prefers-color-scheme: dark)").matches;
      const now = document.documentElement.dataset.theme ?? (dark ? "dark" : "light");
      document.documentElement.dataset.theme = now === "dark" ? "light" : "dark";
      this.map?.draw();
    });
    addEventListener("hashchange", guarded(() => this.restore()));
    const copied = (name, text) => find(name).addEventListener("click", guarded(async () => {
      await copy(text());
      this.note("copied");
    }));
    copied("link", () => new URL(toHash({ ...this.state, latent: this.sliders.latent }), location.href).href);
    copied("python", () => python(this.state, this.sliders.latent, model));
    copied("javascript", () => javascript(this.state, this.sliders.latent, model));
    find("png").addEventListener("click", guarded(() => this.savePng()));
    find("gif").addEventListener("click", guarded(() => this.saveGif()));
  }

  async savePng() {
    const [, height, width] = this.model.shape;
    const large = element("canvas");
    paint(large, enlarged(this.levels, width, height, 8), [1, 8 * height, 8 * width]);
    save("garment.png", await new Promise((done) => large.toBlob(done, "image/png")), "image/png");
  }

  /** From the first kept garment to the second and back; without two, the most telling dimension. */
  async saveGif() {
    const [, height, width] = this.model.shape;
    const { a, b } = this.ends;
    const first = this.model.manifest.latent.order[0];
    const way = Array.from({ length: 25 }, (_, at) => at / 24).map((share) =>
      a && b ? Array.from(between(a, b, share)) : this.sliders.latent.with(first, 5 * share - 2.5));
    const pictures = await this.model.decode(way, this.state.detail ? this.noise : null);
    const frames = [...pictures, ...pictures.slice(1, -1).reverse()].map((levels) => enlarged(levels, width, height, 6));
    save("garments.gif", gif(frames, 6 * width, 6 * height, 6), "image/gif");
  }

  /** Draw what the address names, or else what the form says. */
  async restore() {
    const state = fromHash(location.hash, this.model);
    if (state) this.show(state);
    await this.sample(state?.latent ?? undefined);
  }

  /** The same at the start, where a link with nonsense is told and leaves the model's own sample. */
  async begin() {
    try {
      fromHash(location.hash, this.model);
    } catch (error) {
      say(error.message);
      return this.sample();
    }
    return this.restore();
  }

  async openMap() {
    if (!this.model.manifest.files["map.json"] || this.map) return;
    const response = await fetch(new URL("map.json", folder)).catch(() => null);
    if (!response?.ok) throw new Error("expected map.json beside the model, got none; there is no map");
    const points = readMap(await response.json());
    find("map").hidden = false;
    const look = latest(followed(async (point) => {
      const [levels] = await this.model.decode([point.latent]);
      paint(find("pointed"), levels, this.model.shape);
      find("pointed-words").textContent = this.model.manifest.class_names[point.label] ?? "";
    }));
    this.map = new LatentMap(find("points"), find("legend"), points, this.model.manifest.class_names, look, (point) => {
      this.take(point.latent, `the latent of a ${this.model.manifest.class_names[point.label] ?? "picture"}`);
    });
    this.map.go(0);
  }
}

/** The page over a model that answers; again: after a failure, past what the browser kept. */
async function open(again) {
  const manifest = await readManifest(folder, again);
  const engine = await engines.open(folder, manifest, progress, again);
  const model = new Model(engine, manifest);
  const { name, version } = manifest.model;
  find("about").textContent = `${name} ${version}: slide, roll, draw. A latent of ${model.width} numbers holds each garment.`;
  find("runtime").textContent = `${engines.runtime}. Nothing leaves your machine.`;
  document.querySelectorAll("[data-fitted]").forEach((part) => (part.hidden = !manifest.graphs.latents));
  document.querySelectorAll("[data-detail]").forEach((part) => (part.hidden = !model.detail));
  find("label").append(...model.classes.map((label, at) => new Option(label, at)));
  return new Page(model);
}

/** From nothing to a page at rest; after a failure again, from where it stopped. */
async function load(again) {
  const main = document.querySelector("main");
  say("");
  find("retry").hidden = true;
  document.body.dataset.state = "loading";
  try {
    globalThis.playground ??= await open(again);
    if (main.inert) await playground.begin();
    document.body.dataset.state = "loaded";
    await playground.verify();
    await playground.openMap();
  } catch (error) {
    say(String(error.message ?? error));
    find("retry").hidden = false;
    if (main.inert) {
      document.body.dataset.state = "failed";
      find("verified").textContent = "no model";
    } else if (!playground.differences) {
      find("verified").textContent = "not verified";
    }
  }
  document.body.dataset.ready = "true";
}

/** What can wait until the page is at rest: the encoder and its golden vectors, and a copy for the next visit. */
async function rest() {
  if (!globalThis.playground?.differences) return;
  await new Promise((done) => (globalThis.requestIdleCallback ?? setTimeout)(done));
  if (!("mean" in playground.differences.found)) await playground.verifyEncodings();
  playground.model.engine.keep();
}

// A picture that is dropped while there is no model must not take the page's place.
for (const kind of ["dragover", "drop"]) addEventListener(kind, (event) => event.preventDefault());
find("retry").addEventListener("click", () => load(true).then(rest));
load(false).then(rest);
