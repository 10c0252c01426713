// The page: its state, and what happens when a user touches something.

import { check, randomSeed, wholeNumber } from "../../examples/vae.mjs";
import { copy, element, enlarged, latest, paint, pictures, save, Turns } from "./draw.js";
import * as engine from "./engine.js";
import { Lesson } from "./lesson.js";
import { LatentMap, readMap } from "./map.js";
import { Own } from "./own.js";
import { toPng } from "./png.js";
import { fromHash, toHash } from "./share.js";
import { Sliders } from "./sliders.js";
import { javascript, python } from "./snippets.js";
import { Wall } from "./wall.js";
import { listen } from "./words.js";

const find = (name) => document.querySelector(`#${name}`);
const REST = 200; // milliseconds without a movement before strips and address follow

function showError(message) {
  find("error").textContent = message;
}

/** Makes a function that shows the errors of work on the page, which stays usable. */
const followed = (work) => async (...values) => {
  try {
    await work(...values);
  } catch (error) {
    showError(String(error.message ?? error));
  }
};

/** Does so for work that a user began, which first removes an older error. */
const guarded = (work) => (...values) => {
  showError("");
  return followed(work)(...values);
};

/** A point on the straight line between two latents; share is 0 at a and 1 at b. */
const between = (a, b, share) => a.map((value, at) => value + share * (b[at] - value));

function progress(received, total) {
  if (document.body.dataset.state !== "loading") return; // a file that was on its way when another one failed
  const share = Math.min(1, received / total);
  find("loading").setAttribute("aria-valuenow", Math.round(100 * share));
  find("loading").firstElementChild.style.width = `${100 * share}%`;
  find("verified").textContent = `loading, ${(received / 1e6).toFixed(1)} of ${(total / 1e6).toFixed(1)} MB`;
}

class Page {
  constructor(vae) {
    this.vae = vae;
    this.state = { seed: "0", start: "0", ...vae.resolve() };
    this.noise = null;
    this.sampled = Array(vae.latentDim).fill(0);
    this.ends = { a: null, b: null };
    this.samples = new Turns();
    this.ownPictures = new Turns(); // any other choice of a latent outdates them
    this.handed = {}; // dimension: value, moved by hand since the last sample was asked for
    this.checks = []; // what vae.verify found
    this.watchers = [];
    this.render = latest(followed(async () => {
      const [levels] = await this.pictures([this.sliders.latent]);
      this.levels = levels;
      this.look(levels);
      this.watchers.forEach((heard) => heard(this.now));
    }));
    this.sliders = new Sliders(find("sliders"), vae, (dimension, value) => {
      this.handed[dimension] = value;
      this.caption(this.words, true);
      this.moved();
    }, (levels) => this.look(levels ?? this.levels));
    this.wall = new Wall(find("samples"), vae, (choice, ...sample) => {
      this.ask();
      this.show(choice);
      this.hold(choice, ...sample);
    });
    this.own = new Own(vae, () => this.ownPictures.begin(), (latent) => {
      this.take(latent, "the latent of your picture");
      if (this.checks.length && !this.verifiedAll) this.verifyEncodings();
    }, guarded);
    new IntersectionObserver(([{ intersectionRatio }]) => (find("companion").hidden = intersectionRatio >= 0.4), { threshold: 0.4 })
      .observe(find("picture"));
    this.wire();
    this.show(this.state);
    this.lesson = new Lesson(this);
  }

  /** What the page shows: { latent, levels, state, words }; state is what toHash() takes. */
  get now() {
    return { latent: this.sliders.latent, levels: this.levels, state: this.state, words: this.words };
  }

  /** Calls heard(now) for each new picture. */
  watch(heard) {
    this.watchers.push(heard);
    if (this.levels) heard(this.now);
  }

  /** The pictures of latents with the sample's noise, or mean pictures if details are off; each as levels 0 … 255. */
  pictures(latents) {
    return pictures(this.vae, latents, this.state.detail ? this.noise : null);
  }

  /** Begins a request for a sample. Only the latest counts; sliders that move before its answer stay as they are. */
  ask() {
    this.handed = {};
    this.ownPictures.end();
    return this.samples.begin();
  }

  /** Moves the sliders to a latent that the user chose. */
  take(latent, words) {
    this.ownPictures.end();
    Object.assign(this.handed, latent);
    this.caption(words);
    this.sliders.set(latent);
    this.moved();
  }

  /** Makes a sample the current one; another latent may take the place of its own. */
  hold(state, sampled, noise, label, latent = sampled) {
    Object.assign(this, { state, noise, sampled: Array.from(sampled) });
    const name = this.vae.classNames[label];
    this.sampledWords = `sample ${state.start} of seed ${state.seed}${name ? `, ${name}` : ""}`;
    this.caption(this.sampledWords, latent !== sampled || Object.keys(this.handed).length > 0);
    this.sliders.set(Array.from(latent, (value, at) => this.handed[at] ?? value));
    this.moved();
    document.querySelector("main").inert = false; // the model has answered
  }

  /** Shows the levels of a picture large, and small in the corner while the large picture is out of sight. */
  look(levels) {
    if (!levels) return;
    for (const name of ["picture", "companion"]) paint(find(name), levels, this.vae.imageShape);
  }

  caption(words, changed = false) {
    this.words = words;
    clearTimeout(this.noted);
    const text = changed ? `${words}, changed` : words;
    if (find("caption").textContent !== text) find("caption").textContent = text;
  }

  /** Shows words in place of the caption for a moment. */
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

  /** Reads the form, draws the sample that it describes, and fills the wall. */
  async sample(latent) {
    const seed = wholeNumber(find("seed").value);
    const start = wholeNumber(find("start").value, "an index");
    const label = Number(find("label").value);
    if (label >= 0) find("prior").value = "fitted";
    const choice = {
      seed: String(seed), start: String(start), label,
      prior: this.vae.manifest.graphs.latents ? find("prior").value : "normal",
      temperature: find("temperature").valueAsNumber,
      detail: find("detail").checked && Boolean(this.vae.manifest.detail),
    };
    const newest = this.ask();
    const drawn = await newest(this.vae.draw(1, choice));
    if (!drawn) return;
    this.hold(choice, drawn.latents, drawn.noise, drawn.labels[0], latent);
    await this.wall.fill(choice);
  }

  /** Puts a state into the form. */
  show(state) {
    for (const name of ["seed", "start", "label", "prior", "temperature"]) find(name).value = state[name];
    find("temperature-value").textContent = state.temperature.toFixed(2);
    find("detail").checked = state.detail;
  }

  /** Replays the golden vectors without those of the encoder, which is the largest file and may not be needed yet. */
  async verify() {
    if (this.checks.length) return;
    this.checks = await this.vae.verify({ encodings: false });
    this.tell(" …", "; the encoder's follow");
  }

  async verifyEncodings() {
    try {
      const found = await this.vae.verify({ draws: false });
      if (!this.verifiedAll) this.checks.push(...found); // a picture may have asked for it at the same time
      this.tell();
    } catch {
      this.tell(", without encoder", "; the encoder did not load"); // the reason follows when a picture is to be encoded
    }
  }

  get verifiedAll() {
    return this.checks.some(({ name }) => name === "mean");
  }

  tell(more = "", still = "") {
    const words = (name) => name.replace("_", " ");
    const failed = this.checks.filter(({ passed }) => !passed).map(({ name }) => words(name));
    const counts = ["grey_levels", "label"]; // whole numbers; all other differences are small fractions
    const largest = Math.max(...this.checks.map(({ name, difference }) => (counts.includes(name) ? 0 : difference)));
    const each = this.checks.map(({ name, difference }) =>
      `${words(name)} ${counts.includes(name) ? difference : difference.toFixed(7)}`);
    find("verified").textContent = failed.length
      ? `not verified: ${failed.join(", ")} differ too much`
      : `verified, largest difference ${largest.toFixed(7)}${more}`;
    find("verified").dataset.passed = String(!failed.length);
    find("verified").dataset.covers = this.verifiedAll ? "all" : "draws";
    find("proof").textContent = "This page repeated the model's golden vectors, which are inputs with known outputs. " +
      `The largest differences are: ${each.join(", ")}${still}.`;
  }

  wire() {
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
      find("seed").value = String(randomSeed());
      find("start").value = "0";
      sample();
    });
    find("again").addEventListener("click", () => this.take(this.sampled, this.sampledWords));
    find("centre").addEventListener("click", () => this.take(Array(this.vae.latentDim).fill(0), "the middle of the latent space"));
    for (const end of ["a", "b"]) {
      find(`keep-${end}`).addEventListener("click", () => {
        this.ends[end] = [...this.sliders.latent];
        paint(find(`end-${end}`), this.levels, this.vae.imageShape);
        find("share").value = end === "a" ? 0 : 1;
      });
    }
    find("share").addEventListener("input", guarded(async () => {
      const { a, b } = this.ends;
      check(a && b, "two pictures to go between, got fewer; keep a first and a second one");
      this.take(between(a, b, find("share").valueAsNumber), "between the two that you kept");
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
    copied("python", () => python(this.state, this.sliders.latent, this.vae));
    copied("javascript", () => javascript(this.state, this.sliders.latent));
    find("png").addEventListener("click", guarded(() => this.savePng()));
    find("gif").addEventListener("click", guarded(() => this.saveGif()));
  }

  async savePng() {
    save("picture.png", await toPng(this), "image/png");
  }

  /** Animates the way from the first kept picture to the second and back; without two, the dimension with most nats. */
  async saveGif() {
    const { a, b } = this.ends;
    const first = this.vae.manifest.latent.order[0];
    const way = Array.from({ length: 25 }, (_, at) => at / 24).map((share) =>
      a && b ? between(a, b, share) : this.sliders.latent.with(first, 5 * share - 2.5));
    const made = await this.pictures(way);
    const frames = [...made, ...made.slice(1, -1).reverse()].map((levels) => enlarged(levels, this.vae.imageShape, 168));
    save("pictures.gif", await engine.gif(frames.map(({ levels }) => levels), frames[0].shape), "image/gif");
  }

  /** Draws what the address describes, or else what the form does. */
  async restore() {
    const state = fromHash(location.hash, this.vae);
    if (state) this.show(state);
    await this.sample(state?.latent ?? undefined);
  }

  /** Does so at the start, where an error in a link leaves the form's sample. */
  async begin() {
    try {
      fromHash(location.hash, this.vae);
    } catch (error) {
      showError(error.message);
      return this.sample();
    }
    return this.restore();
  }

  async openMap() {
    const { files, class_names: classNames } = this.vae.manifest;
    if (!files["map.json"] || this.map) return;
    const document = await this.vae.readJson("map.json");
    check(document?.places, "a map in map.json, got another file; copy the model folder again");
    const points = readMap(document);
    find("map").hidden = false;
    const look = latest(followed(async (point) => {
      const [levels] = await pictures(this.vae, [point.latent]);
      paint(find("pointed"), levels, this.vae.imageShape);
      find("pointed-words").textContent = classNames[point.label] ?? "";
    }));
    this.map = new LatentMap(find("points"), find("legend"), points, classNames, look, (point) => {
      this.take(point.latent, `the latent of a test image, ${classNames[point.label] ?? "without a class"}`);
    });
    this.map.go(0);
  }
}

async function open() {
  const vae = await engine.open(new URL("model/", document.baseURI), progress);
  const { model, image, graphs, detail, data } = vae.manifest;
  check([1, 3].includes(image.channels), `a model of grey or colour pictures, got ${image.channels} channels`);
  find("about").textContent = `${model.name} ${model.version}, a variational autoencoder, makes a picture from ` +
    `${vae.latentDim} numbers, called its latent.`;
  find("runtime").textContent = `${engine.runtime} Your pictures stay on this machine.`;
  find("licence").textContent = `The licence of the model: ${model.licence}.` +
    (data ? ` It was trained on ${data.name}, whose licence is: ${data.licence}.` : "");
  document.querySelectorAll("[data-fitted]").forEach((part) => (part.hidden = !graphs.latents));
  document.querySelectorAll("[data-detail]").forEach((part) => (part.hidden = !detail));
  find("label").parentElement.hidden ||= !vae.classNames.length;
  find("label").append(...vae.classNames.map((label, at) => new Option(label, at)));
  return new Page(vae);
}

/** Loads the page; after a failure, a second call continues where the first one stopped. */
async function load() {
  const main = document.querySelector("main");
  showError("");
  find("retry").hidden = true;
  document.body.dataset.state = "loading";
  try {
    globalThis.playground ??= await open();
    if (main.inert) await playground.begin();
    document.body.dataset.state = "loaded";
    await playground.verify();
    await playground.openMap();
  } catch (error) {
    showError(String(error.message ?? error));
    find("retry").hidden = false;
    if (main.inert) {
      document.body.dataset.state = "failed";
      find("verified").textContent = "no model";
    } else if (!playground.checks.length) {
      find("verified").textContent = "not verified";
    }
  }
  document.body.dataset.ready = "true";
}

/** Does what can wait: the golden vectors of the encoder, and a copy of the page for the next visit. */
async function rest() {
  if (!globalThis.playground?.checks.length) return;
  await new Promise((done) => (globalThis.requestIdleCallback ?? setTimeout)(done));
  if (!playground.verifiedAll) await playground.verifyEncodings();
  engine.keep();
}

listen();
// A browser would leave the page for a picture that is dropped before the model is loaded.
for (const kind of ["dragover", "drop"]) addEventListener(kind, (event) => event.preventDefault());
find("retry").addEventListener("click", () => load().then(rest));
load().then(rest);
