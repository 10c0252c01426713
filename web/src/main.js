// The page: its state, and what happens when a hand touches something.

import { element, enlarged, latest, paint, save } from "./draw.js";
import * as engines from "./engine.js";
import { gif } from "./gif.js";
import { LatentMap, readMap } from "./map.js";
import { Model, readManifest } from "./model.js";
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

function progress(file, received, total) {
  const share = total ? received / total : Math.min(0.95, received / 15e6);
  find("loading").setAttribute("aria-valuenow", Math.round(100 * share));
  find("loading").firstElementChild.style.width = `${100 * share}%`;
  find("verified").textContent = `loading ${file}, ${(received / 1e6).toFixed(1)} MB`;
}

class Page {
  constructor(model) {
    this.model = model;
    this.state = { seed: "0", start: "0", ...model.defaults };
    this.noise = null;
    this.sampled = Array(model.width).fill(0);
    this.ends = { a: null, b: null };
    this.render = latest(followed(async () => {
      const [levels] = await model.decode([this.sliders.latent], this.state.detail ? this.noise : null);
      this.levels = levels;
      paint(find("picture"), levels, model.shape);
    }));
    this.sliders = new Sliders(find("sliders"), model, () => this.moved());
    this.wall = new Wall(find("samples"), model, (index, latent, noise, label) => {
      this.state.start = String(index);
      find("start").value = this.state.start;
      this.hold(latent, noise, label);
    });
    this.own = new Own(model, (latent) => {
      this.sliders.set(latent);
      this.caption("your picture's latent");
      this.moved();
    }, (error) => say(error.message));
  }

  /** Put a sample's latent into the sliders. */
  hold(latent, noise, label) {
    Object.assign(this, { sampled: Array.from(latent), noise });
    this.sliders.set(latent);
    const name = this.model.classes[label];
    this.caption(`sample ${this.state.start} of seed ${this.state.seed}${name ? `, ${name}` : ""}`);
    this.moved();
  }

  caption(words) {
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
  async sample(latent = null) {
    const seed = seedOf(find("seed").value);
    const start = seedOf(find("start").value, "an index");
    const label = Number(find("label").value);
    if (label >= 0) find("prior").value = "fitted";
    Object.assign(this.state, {
      seed: String(seed), start: String(start), label,
      prior: this.model.manifest.graphs.latents ? find("prior").value : "normal",
      temperature: find("temperature").valueAsNumber,
      detail: find("detail").checked && this.model.detail !== null,
    });
    find("temperature-value").textContent = this.state.temperature.toFixed(2);
    const drawn = await this.model.draw(seed, start, 1, this.state);
    this.hold(drawn.latents[0], drawn.noise?.[0] ?? null, drawn.labels[0]);
    if (latent) {
      this.sliders.set(latent);
      this.moved();
    }
    await this.wall.fill(seed, start, this.state);
  }

  /** Put a state into the form. */
  show(state) {
    Object.assign(this.state, state);
    for (const name of ["seed", "start", "label", "prior", "temperature"]) find(name).value = this.state[name];
    find("detail").checked = this.state.detail;
  }

  async verify() {
    const golden = await (await fetch(new URL("golden.json", folder))).json();
    const { passed, latents, greyLevels } = await this.model.verify(golden);
    find("verified").textContent = passed
      ? `verified, largest difference ${latents.toFixed(7)}`
      : `not verified: latents differ by ${latents.toPrecision(2)}, pictures by ${greyLevels} grey levels`;
    find("verified").dataset.passed = String(passed);
  }

  wire() {
    const { model } = this;
    const sample = guarded(() => this.sample());
    for (const name of ["seed", "start", "label", "temperature", "detail"]) find(name).addEventListener("change", sample);
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
    find("again").addEventListener("click", () => this.take(this.sampled));
    find("centre").addEventListener("click", () => this.take(Array(model.width).fill(0)));
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
      this.take(Array.from(between(a, b, find("share").valueAsNumber)));
    }));
    find("theme").addEventListener("click", () => {
      const dark = matchMedia("(prefers-color-scheme: dark)").matches;
      const now = document.documentElement.dataset.theme ?? (dark ? "dark" : "light");
      document.documentElement.dataset.theme = now === "dark" ? "light" : "dark";
      this.map?.draw();
    });
    addEventListener("hashchange", guarded(() => this.restore()));
    const copy = (name, text) => find(name).addEventListener("click", guarded(async () => {
      await navigator.clipboard.writeText(text());
      this.caption("copied");
    }));
    copy("link", () => new URL(toHash({ ...this.state, latent: this.sliders.latent }), location.href).href);
    copy("python", () => python(this.state, this.sliders.latent, model));
    copy("javascript", () => javascript(this.state, this.sliders.latent, model));
    find("png").addEventListener("click", guarded(() => this.savePng()));
    find("gif").addEventListener("click", guarded(() => this.saveGif()));
  }

  take(latent) {
    this.sliders.set(latent);
    this.moved();
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

  async restore() {
    const state = fromHash(location.hash, this.model);
    if (state) this.show(state);
    await this.sample(state?.latent);
  }

  async openMap() {
    if (!this.model.manifest.files["map.json"]) return;
    const points = readMap(await (await fetch(new URL("map.json", folder))).json());
    find("map").hidden = false;
    const look = latest(followed(async (point) => {
      const [levels] = await this.model.decode([point.latent]);
      paint(find("pointed"), levels, this.model.shape);
      find("pointed-words").textContent = this.model.manifest.class_names[point.label] ?? "";
    }));
    this.map = new LatentMap(find("points"), find("legend"), points, this.model.manifest.class_names, look, (point) => {
      this.caption(`the latent of a ${this.model.manifest.class_names[point.label] ?? "picture"}`);
      this.take(point.latent);
    });
    this.map.go(0);
  }
}

async function start() {
  const manifest = await readManifest(folder);
  const engine = await engines.open(folder, manifest, progress);
  const model = new Model(engine, manifest);
  find("loading").classList.add("done");
  const { name, version } = manifest.model;
  find("about").textContent = `${name} ${version}: slide, roll, draw. A latent of ${model.width} numbers holds each garment.`;
  find("runtime").textContent = `${engines.runtime}. Nothing leaves your machine.`;
  document.querySelectorAll("[data-fitted]").forEach((part) => (part.hidden = !manifest.graphs.latents));
  document.querySelectorAll("[data-detail]").forEach((part) => (part.hidden = !model.detail));
  find("label").append(...model.classes.map((label, at) => new Option(label, at)));
  const page = new Page(model);
  page.wire();
  page.show(model.defaults);
  globalThis.playground = page;
  await page.restore().catch((error) => {
    say(error.message);
    return page.sample();
  });
  await page.verify();
  await page.openMap();
}

guarded(start)().then(() => (document.body.dataset.ready = "true"));
