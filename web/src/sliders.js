// A slider for each dimension of the latent, with a film strip of how it changes the current picture.

import { element, paint, pause, pictures, Turns } from "./draw.js";
import { NAMES } from "./names.js";

const SPAN = 3; // prior standard deviations to each side
const FRAMES = 7;
const UNUSED = 0.01; // nats; a dimension with less information changes nothing
const SOON = 400; // milliseconds between the taps of a double tap
const NEAR = 30; // pixels between them

export class Sliders {
  /**
   * Fills the element `place`. changed(dimension, value) is called when a user moves a slider, and looked(levels) when the
   * pointer is over a picture of a strip, or with null when it leaves the strip.
   */
  constructor(place, vae, changed, looked) {
    this.vae = vae;
    this.latent = Array(vae.latentDim).fill(0);
    const { order, kl_nats: kl } = vae.manifest.latent;
    const names = NAMES[vae.manifest.training?.weights_sha256] ?? {};
    this.rows = order.map((dimension) => {
      const [low, high] = names[dimension] ?? [];
      const input = element("input", { type: "range", min: -SPAN, max: SPAN, step: 0.01, value: 0, id: `z${dimension}` });
      const output = element("output", { textContent: "0.00" });
      output.htmlFor.add(input.id);
      const label = element("label", { htmlFor: input.id }, low ? `${low} ↔ ${high}` : `z${dimension}`);
      label.append(element("small", { textContent: `${low ? `z${dimension}, ` : ""}${kl[dimension].toFixed(2)} nats` }));
      const strip = element("div", { className: "strip", ariaHidden: "true" });
      strip.append(...Array.from({ length: FRAMES }, () => element("canvas")));
      const row = element("div", { className: kl[dimension] < UNUSED ? "slider unused" : "slider" }, label, input, output, strip);
      const move = (value) => {
        this.latent = this.latent.with(dimension, value);
        this.show();
        changed(dimension, value);
      };
      input.addEventListener("input", () => move(input.valueAsNumber));
      input.addEventListener("keydown", (event) => {
        if (event.key === "0") move(0);
      });
      for (const part of [label, input, output]) onDouble(part, () => move(0));
      const made = { dimension, input, output, canvases: [...strip.children], pictures: [] };
      const pointed = (work) => ({ target }) => {
        const at = made.canvases.indexOf(target);
        if (at >= 0) work(at);
      };
      strip.addEventListener("click", pointed((at) => move(SPAN * ((2 * at) / (FRAMES - 1) - 1))));
      strip.addEventListener("pointerover", pointed((at) => looked(made.pictures[at] ?? null)));
      strip.addEventListener("pointerleave", () => looked(null));
      return made;
    });
    place.replaceChildren(...this.rows.map(({ input }) => input.parentElement));
    this.turns = new Turns();
  }

  /** Moves the sliders to a latent, without a call of changed(). */
  set(latent) {
    this.latent = Array.from(latent);
    this.show();
  }

  show() {
    for (const { dimension, input, output } of this.rows) {
      const value = this.latent[dimension];
      input.value = value;
      output.textContent = value.toFixed(2);
    }
  }

  /** Draws the strips around the latent, one after the other, until another call begins anew. */
  async drawStrips(noise) {
    const newest = this.turns.begin();
    const latent = this.latent;
    for (const row of this.rows) {
      const { dimension, canvases } = row;
      const values = canvases.map((_, at) => SPAN * ((2 * at) / (FRAMES - 1) - 1));
      const made = await newest(pictures(this.vae, values.map((value) => latent.with(dimension, value)), noise));
      if (!made) return;
      row.pictures = made;
      canvases.forEach((canvas, at) => paint(canvas, made[at], this.vae.imageShape));
      if (!(await newest(pause()))) return;
    }
  }

  /** Stops drawing strips, so that the model is free for the large picture. */
  stopStrips() {
    this.turns.end();
  }
}

/** Calls work on a double click, and on a double tap, which browsers do not report on a slider. */
function onDouble(part, work) {
  let tapped = { timeStamp: -Infinity };
  part.addEventListener("dblclick", work);
  part.addEventListener("pointerup", (event) => {
    if (event.pointerType !== "touch") return;
    const near = Math.hypot(event.clientX - tapped.clientX, event.clientY - tapped.clientY) < NEAR;
    if (near && event.timeStamp - tapped.timeStamp < SOON) setTimeout(work); // after the slider followed the tap
    tapped = event;
  });
}
