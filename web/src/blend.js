// Two pictures with a strip between them, and arithmetic of three pictures.

import { check, randomSeed, rows } from "../../examples/vae.mjs";
import { element, paint } from "./draw.js";
import { playButton } from "./motion.js";
import { EXAMPLES } from "./names.js";

const BETWEEN = 9; // pictures
const TYPICAL = 0.6; // temperature of the examples of a class
const find = (name) => document.querySelector(`#${name}`);

/** The latent at a share of the way through a list of latents; 0 is the first one and 1 the last. */
function along(path, share) {
  const place = Math.min(share * (path.length - 1), path.length - 1 - 1e-9);
  const [before, after] = [path[Math.floor(place)], path[Math.floor(place) + 1]];
  return Array.from(before, (value, at) => value + (place % 1) * (after[at] - value));
}

export class Blend {
  constructor(page) {
    Object.assign(this, { page, latents: null, path: null, drawn: null });
    this.slots = Object.fromEntries(["a", "b", "x", "y", "z"].map((name) => [name, this.slot(name, find(`slot-${name}`))]));
    this.tiles = Array.from({ length: BETWEEN }, (_, at) =>
      this.tile(`Picture ${at + 1} of ${BETWEEN} between the two`, () => this.path[at + 1], "between two pictures"));
    find("between").replaceChildren(...this.tiles.map(({ tile }) => tile));
    this.result = this.tile("Take the result", () => this.sum, "the result of the arithmetic");
    find("result").replaceChildren(this.result.tile);
    const { errors } = page;
    this.redraw = errors.follow(() => this.show());
    const share = find("share");
    const glide = () => {
      this.check();
      page.glide(along(this.path, share.valueAsNumber), "between two pictures");
    };
    share.addEventListener("input", errors.guard(async () => glide(), share));
    share.addEventListener("change", () => page.settle("share"));
    playButton(find("share-play"), () => ({
      from: 2 * share.valueAsNumber - 1,
      move: (x) => {
        share.value = (x + 1) / 2;
        if (this.path) glide();
      },
      settle: () => page.settle("share"),
    }));
    find("share-gif").addEventListener("click", errors.guard(async () => {
      this.check();
      await page.saveWay(Array.from({ length: 25 }, (_, at) => along(this.path, at / 24)));
    }));
  }

  check() {
    check(this.path, "the first pictures, got none yet; wait a moment");
  }

  /** A place for a picture: its canvas, and a list of what it can be filled with. */
  slot(name, place) {
    const { page } = this;
    const { classNames } = page.vae;
    const title = place.dataset.title;
    const canvas = element("canvas", { width: 28, height: 28, role: "img", ariaLabel: title });
    const choice = element("select", { ariaLabel: `${title}: choose another one` },
      new Option("Change …", ""), new Option("the picture on the sliders", "current"), new Option("a new sample", "sample"),
      ...classNames.map((label, at) => new Option(`example: ${label}`, at)));
    choice.addEventListener("change", page.errors.guard(async () => {
      const chosen = choice.value;
      choice.value = "";
      if (chosen === "") return;
      const latent = chosen === "current" ? [...page.sliders.latent] : await this.draw(chosen === "sample" ? -1 : Number(chosen));
      this.latents = { ...this.latents, [name]: latent };
      await this.show();
      page.keep();
    }, choice));
    place.append(canvas, choice);
    return canvas;
  }

  /** A picture that can be taken. */
  tile(name, latent, words) {
    const canvas = element("canvas", { width: 28, height: 28 });
    const tile = element("button", { type: "button", ariaLabel: name, className: "tile" }, canvas);
    tile.addEventListener("click", () => this.path && this.page.take(latent(), words));
    return { tile, canvas };
  }

  /** The latent of a sample, of a class if label is not −1. */
  async draw(label, seed = String(randomSeed())) {
    const { vae } = this.page;
    const fitted = Boolean(vae.manifest.graphs.latents);
    return Array.from((await vae.draw(1, { seed, ...(fitted && { label, temperature: TYPICAL }) })).latents);
  }

  /** The latents from the first picture to the second: through likely ones, for a model that knows which they are. */
  async findPath({ a, b }) {
    const { vae } = this.page;
    const steps = BETWEEN + 2;
    const found = await vae.interpolate(a, b, steps).catch(() => vae.interpolate(a, b, steps, { method: "linear" }));
    return rows(Array.from(found), steps);
  }

  get sum() {
    const { x, y, z } = this.latents;
    return x.map((value, at) => value - y[at] + z[at]);
  }

  /** Fills all places with first pictures; later calls redraw them if the noise of the details has changed. */
  async follow() {
    if (!this.latents) {
      const { vae } = this.page;
      const examples = EXAMPLES[vae.manifest.training?.weights_sha256] ?? {};
      const classes = vae.manifest.graphs.latents ? vae.classNames.length : 0;
      const found = {};
      for (const [at, name] of Object.keys(this.slots).entries()) {
        const [label, seed] = examples[name] ?? [classes ? at % classes : -1, String(at + 1)];
        found[name] = await this.draw(label, seed);
      }
      this.latents ??= found;
    } else if (this.drawn === this.page.detail) {
      return;
    }
    await this.show();
  }

  /** Shows the latents of a snapshot again. */
  restore(latents) {
    if (!latents || latents === this.latents) return;
    this.latents = latents;
    this.redraw();
  }

  async show() {
    const { page, latents } = this;
    const noise = page.detail;
    const names = Object.keys(this.slots);
    const path = latents.a === this.shown?.a && latents.b === this.shown?.b ? this.path : await this.findPath(latents);
    const made = await page.pictures([...names.map((name) => latents[name]), ...path.slice(1, -1), this.sum]);
    if (latents !== this.latents) return; // others came meanwhile
    Object.assign(this, { drawn: noise, shown: latents, path });
    const canvases = [...names.map((name) => this.slots[name]), ...this.tiles.map(({ canvas }) => canvas), this.result.canvas];
    canvases.forEach((canvas, at) => paint(canvas, made[at], page.vae.imageShape));
  }
}
