// The page: its state, and what happens when a user touches something.

import { check, randomSeed, wholeNumber } from "../../examples/vae.mjs";
import { Blend } from "./blend.js";
import { Directions } from "./directions.js";
import { copy, enlarged, latest, paint, pictures, save, Turns } from "./draw.js";
import * as engine from "./engine.js";
import { Errors } from "./errors.js";
import { History } from "./history.js";
import { Lesson } from "./lesson.js";
import { LatentMap, readMap } from "./map.js";
import { isPlaying, stopPlaying } from "./motion.js";
import { FIRST } from "./names.js";
import { Own } from "./own.js";
import { toPng } from "./png.js";
import { Proof } from "./proof.js";
import { fromHash, toHash } from "./share.js";
import { Sliders } from "./sliders.js";
import { javascript, python } from "./snippets.js";
import { Wall } from "./wall.js";

const find = (name) => document.querySelector(`#${name}`);
const NUMBERS = "no one two three four five six seven eight nine ten eleven twelve".split(" ");
const ONE = 250; // milliseconds between the calls of one movement
const REST = 200; // milliseconds without a movement before the strips follow

export class Page {
  /** A page for a model and its directions, of which some models have none. */
  constructor(vae, directions = []) {
    this.vae = vae;
    this.proof = new Proof(vae);
    this.errors = new Errors(document.querySelector("main"));
    this.first = { seed: "0", start: "0", ...vae.resolve(), ...FIRST[vae.manifest.training?.weights_sha256] };
    this.state = this.first; // of the sample that was drawn last
    this.kind = undefined; // the class of the latent, where it is known
    this.noise = null;
    this.sampled = Array(vae.latentDim).fill(0);
    this.samples = new Turns();
    this.ownPictures = new Turns(); // any other choice of a latent outdates them
    this.handed = {}; // dimension: value, moved by hand since the last sample was asked for
    this.watchers = [];
    this.render = latest(this.errors.follow(async () => {
      const [levels] = await this.pictures([this.sliders.latent]);
      this.levels = levels;
      this.look(levels);
      this.watchers.forEach((heard) => heard(this.now));
    }));
    this.atRest = this.errors.follow(() => this.drawStrips());
    this.followWall = this.errors.follow(() => this.wall.follow(this.state));
    const looked = (levels) => this.look(levels ?? this.levels);
    const settled = (name) => this.settle(name);
    this.sliders = new Sliders(find("sliders"), vae, {
      moved: (dimension, value) => {
        this.handed[dimension] = value;
        this.kind = undefined;
        this.caption(this.words, true);
        this.moved();
      },
      settled, looked,
    });
    this.directions = new Directions(find("directions"), vae, directions, {
      moved: (latent) => this.glide(latent, this.words, { kind: this.kind, changed: true }),
      settled, looked,
    }, this.errors);
    find("directions").hidden = find("directions-words").hidden = !directions.length;
    find("numbers").open = !directions.length;
    find("numbers-title").textContent = `The ${NUMBERS[vae.latentDim] ?? vae.latentDim} numbers${directions.length ? " behind them" : ""}`;
    this.wall = new Wall(find("samples"), vae, (choice, ...sample) => {
      this.ask();
      this.show(choice);
      this.hold(choice, ...sample);
    });
    this.blend = new Blend(this);
    const isOwn = (hand) => (hand?.closest("#own") ? hand : find("own-words")); // a picture may be dropped anywhere
    this.own = new Own(vae, () => this.ownPictures.begin(), (latent) => {
      this.take(latent, "the latent of your picture");
      if (this.proof.checks.length && !this.proof.verifiedAll) this.proof.verifyEncodings();
    }, (work) => this.errors.guard(work, isOwn));
    this.history = new History((snapshot) => this.restore(snapshot), () => this.visit(), () => {
      find("undo").setAttribute("aria-disabled", String(!this.history.canUndo));
      find("redo").setAttribute("aria-disabled", String(!this.history.canRedo));
    });
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

  /** The noise of the sample if details are drawn, or null. */
  get detail() {
    return this.state.detail ? this.noise : null;
  }

  /** The pictures of latents with the sample's noise, or mean pictures if details are off; each as levels 0 … 255. */
  pictures(latents) {
    return pictures(this.vae, latents, this.detail);
  }

  // ---- latents and samples

  /** Begins a request for a sample. Only the latest counts; sliders that move before its answer stay as they are. */
  ask() {
    this.handed = {};
    this.ownPictures.end();
    return this.samples.begin();
  }

  /** Moves the sliders to a latent, of a class if it is known, while a user moves something. */
  glide(latent, words, { kind, changed = false } = {}) {
    this.ownPictures.end();
    Object.assign(this.handed, latent);
    this.kind = kind;
    this.caption(words, changed);
    this.sliders.set(latent);
    this.moved();
  }

  /** Moves the sliders to a latent that the user chose. Calls that follow each other at once are one movement, as of a slider. */
  take(latent, words, kind) {
    stopPlaying();
    const began = performance.now();
    const goesOn = words === this.words && began - this.taken < ONE;
    this.taken = began;
    this.glide(latent, words, { kind });
    if (goesOn) this.settle(words);
    else this.keep();
  }

  /** Makes a sample the current one; another latent may take the place of its own. */
  hold(state, sampled, noise, label, latent = sampled) {
    Object.assign(this, { state, noise, sampled: Array.from(sampled) });
    const handed = Object.keys(this.handed).length > 0;
    this.kind = label >= 0 && latent === sampled && !handed ? label : undefined;
    const name = this.vae.classNames[label];
    this.sampledWords = `sample ${state.start} of seed ${state.seed}${name ? `, ${name}` : ""}`;
    this.sampledKind = label >= 0 ? label : undefined;
    this.caption(this.sampledWords, latent !== sampled || handed);
    this.sliders.set(Array.from(latent, (value, at) => this.handed[at] ?? value));
    this.moved();
    this.keep();
    document.querySelector("main").inert = false; // the model has answered
  }

  /** Shows the levels of a picture large, and small in the corner while the large picture is out of sight. */
  look(levels) {
    if (!levels) return;
    for (const name of ["picture", "companion"]) paint(find(name), levels, this.vae.imageShape);
  }

  caption(words, changed = false) {
    Object.assign(this, { words, changed });
    const text = changed ? `${words}, changed` : words;
    if (find("caption").textContent !== text) find("caption").textContent = text;
  }

  /** Everything follows the latent on the sliders: the picture now, and the strips when it is at rest. */
  moved() {
    const { latent } = this.sliders;
    this.sliders.stopStrips();
    this.directions.stopStrips();
    this.directions.set(latent, this.kind);
    this.map?.follow(latent);
    this.render();
    clearTimeout(this.rest);
    this.rest = setTimeout(this.atRest, REST);
  }

  async drawStrips() {
    if (isPlaying()) return;
    await this.directions.drawStrips(this.detail);
    if (find("numbers").open) await this.sliders.drawStrips(this.detail);
    await this.blend.follow();
  }

  /** Reads the form, draws the sample that it describes, and fills the wall. */
  async sample(latent) {
    stopPlaying();
    const seed = wholeNumber(find("seed").value);
    const start = wholeNumber(find("start").value, "an index");
    const prior = this.vae.manifest.graphs.latents ? find("prior").value : "normal";
    const choice = {
      seed: String(seed), start: String(start), prior,
      label: prior === "normal" ? -1 : Number(find("label").value),
      temperature: find("temperature").valueAsNumber,
    };
    const newest = this.ask();
    const drawn = await newest(this.vae.draw(1, choice));
    if (!drawn) return;
    choice.detail = find("detail").checked && Boolean(this.vae.manifest.detail); // may have changed meanwhile
    this.hold(choice, drawn.latents, drawn.noise, drawn.labels[0], latent);
    await this.wall.fill(choice);
  }

  /** Puts a state into the form. N(0, I) has no classes, so the class waits there until the fitted prior is back. */
  show(state) {
    for (const name of ["seed", "start", "prior", "temperature"]) find(name).value = state[name];
    this.wanted = state.prior === "normal" ? this.wanted ?? -1 : state.label;
    this.showClass();
    find("temperature-value").textContent = state.temperature.toFixed(2);
    find("detail").checked = state.detail;
  }

  showClass() {
    const normal = find("prior").value === "normal";
    const name = this.vae.classNames[this.wanted];
    find("label").value = normal ? -1 : this.wanted;
    find("label").disabled = normal;
    find("label-why").textContent = normal && this.vae.classNames.length
      ? `N(0, I) has no classes.${name ? ` The class ${name} comes back with the fitted prior.` : ""}` : "";
  }

  // ---- undo, redo, Back and Forward

  snapshot() {
    const { state, noise, sampled, sampledWords, sampledKind, kind, words, changed, wanted } = this;
    const latent = Array.from(this.sliders.latent);
    return { state, noise, sampled, sampledWords, sampledKind, kind, words, changed, wanted, latent, slots: this.blend.latents };
  }

  get hash() {
    const { latent } = this.sliders;
    const same = latent.every((value, at) => Math.abs(value - this.sampled[at]) < 5e-4);
    return toHash({ ...this.state, latent: same ? null : latent });
  }

  /** Keeps the page as it is now, as a step that can be undone. */
  keep() {
    this.history.choose(this.snapshot(), this.hash);
  }

  /** Does so after a slider has come to rest. */
  settle(name) {
    if (isPlaying()) return;
    const last = this.history.steps[this.history.at]?.snapshot.latent;
    if (last?.every((value, at) => value === this.sliders.latent[at])) return;
    this.history.slide(this.snapshot(), this.hash, name);
  }

  /** Shows a snapshot again. */
  restore({ latent, slots, ...rest }) {
    stopPlaying();
    this.ask(); // drops the answers to earlier requests
    Object.assign(this, rest);
    this.show(this.state);
    this.caption(this.words, this.changed);
    this.sliders.set(latent);
    this.blend.restore(slots);
    this.moved();
    this.followWall();
  }

  /** Draws what the address describes, or else the first picture. Errors in an address stand at the top, near to it. */
  async visit() {
    try {
      const state = fromHash(location.hash, this.vae);
      this.show(state ?? this.first);
      this.report("");
      await this.sample(state?.latent ?? undefined);
    } catch (error) {
      this.report(String(error.message ?? error));
    }
  }

  /** Does so at the start, where an error in a link leaves the first picture. */
  async begin() {
    let wrong = "";
    let state = null;
    try {
      state = fromHash(location.hash, this.vae);
    } catch (error) {
      wrong = error.message;
    }
    this.show(state ?? this.first);
    await this.sample(state?.latent ?? undefined);
    await this.directions.follow.done();
    this.report(wrong);
  }

  /** Shows an error of loading, or of an address, at the top. */
  report(message) {
    find("error").textContent = message;
  }

  // ---- what a user touches

  wire() {
    const sample = this.errors.guard(async () => {
      await this.sample();
      this.report("");
    });
    for (const name of ["seed", "start", "temperature"]) find(name).addEventListener("change", sample);
    find("label").addEventListener("change", ({ target }) => {
      this.wanted = Number(target.value);
      sample();
    });
    find("temperature").addEventListener("input", ({ target }) => {
      find("temperature-value").textContent = target.valueAsNumber.toFixed(2);
    });
    find("prior").addEventListener("change", () => {
      this.showClass();
      sample();
    });
    find("detail").addEventListener("change", this.errors.guard(({ target }) => this.redraw(target.checked)));
    find("choices").addEventListener("submit", (event) => event.preventDefault());
    find("dice").addEventListener("click", () => {
      find("seed").value = String(randomSeed());
      find("start").value = "0";
      sample();
    });
    find("undo").addEventListener("click", () => this.history.undo());
    find("redo").addEventListener("click", () => this.history.redo());
    find("again").addEventListener("click", () => this.take(this.sampled, this.sampledWords, this.sampledKind));
    find("centre").addEventListener("click", () => this.take(Array(this.vae.latentDim).fill(0), "the middle of the latent space"));
    find("numbers").addEventListener("toggle", () => this.moved());
    find("theme").addEventListener("click", () => {
      const dark = matchMedia("(prefers-color-scheme: dark)").matches;
      const now = document.documentElement.dataset.theme ?? (dark ? "dark" : "light");
      document.documentElement.dataset.theme = now === "dark" ? "light" : "dark";
      this.map?.draw();
    });
    addEventListener("paste", this.errors.guard(({ target, clipboardData }) => {
      const link = clipboardData.getData("text").match(/#seed=\S+/);
      if (!link || target.matches?.("input, textarea")) return;
      location.hash = link[0]; // a link of a page that has ended
    }, find("link")));
    const copied = (name, text, more) => find(name).addEventListener("click", this.errors.guard(async () => {
      await copy(text());
      this.note(`Copied.${more ?? ""}`);
    }));
    copied("link", () => new URL(toHash({ ...this.state, latent: this.sliders.latent }), location.href).href, engine.linkNote);
    copied("python", () => python(this.state, this.sliders.latent, this.vae));
    copied("javascript", () => javascript(this.state, this.sliders.latent));
    find("png").addEventListener("click", this.errors.guard(() => this.savePng()));
    find("gif").addEventListener("click", this.errors.guard(() => this.saveGif()));
  }

  /** Draws the same latent with or without details. */
  async redraw(detail) {
    this.state = { ...this.state, detail };
    this.moved();
    this.keep();
    await this.wall.fill(this.state);
  }

  /** Says beside the buttons of sharing what has been done. */
  note(words) {
    clearTimeout(this.noted);
    find("shared").textContent = words;
    this.noted = setTimeout(() => (find("shared").textContent = ""), 12_000);
  }

  async savePng() {
    save("picture.png", await toPng(this), "image/png");
  }

  /** Animates the direction that was moved last, or the number with most nats where there are no directions. */
  async saveGif() {
    const first = this.vae.manifest.latent.order[0];
    const along = await this.directions.way(25);
    await this.saveWay(along ?? Array.from({ length: 25 }, (_, at) => this.sliders.latent.with(first, (5 * at) / 24 - 2.5)));
  }

  /** Saves an endless GIF of the pictures of latents, there and back. */
  async saveWay(way) {
    const made = await this.pictures(way);
    const frames = [...made, ...made.slice(1, -1).reverse()].map((levels) => enlarged(levels, this.vae.imageShape, 168));
    save("pictures.gif", await engine.gif(frames.map(({ levels }) => levels), frames[0].shape), "image/gif");
  }

  async openMap() {
    const { files, class_names: classNames } = this.vae.manifest;
    if (!files["map.json"] || this.map) return;
    const document = await this.vae.readJson("map.json");
    check(document?.places, "a map in map.json, got another file; copy the model folder again");
    find("map").hidden = false;
    this.map = new LatentMap(this, readMap(document), classNames);
    this.map.follow(this.sliders.latent);
  }
}
