// A slider for each dimension of the latent, with a film strip of what it does to the garment at hand.

import { element, paint } from "./draw.js";
import { NAMES } from "./names.js";

const SPAN = 3; // prior standard deviations to each side
const FRAMES = 7;
const UNUSED = 0.01; // nats of KL below which a dimension says nothing

export class Sliders {
  /** place: where they go; changed(latent) is called when a hand moved one. */
  constructor(place, model, changed) {
    this.model = model;
    this.latent = Array(model.width).fill(0);
    const { order, kl_nats: kl } = model.manifest.latent;
    const names = NAMES[model.manifest.graphs.decoder.sha256] ?? {};
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
        changed(this.latent);
      };
      input.addEventListener("input", () => move(input.valueAsNumber));
      row.addEventListener("dblclick", () => move(0));
      strip.addEventListener("click", ({ target }) => {
        const at = [...strip.children].indexOf(target);
        if (at >= 0) move(SPAN * ((2 * at) / (FRAMES - 1) - 1));
      });
      return { dimension, input, output, canvases: [...strip.children] };
    });
    place.replaceChildren(...this.rows.map(({ input }) => input.parentElement));
    this.turn = 0;
  }

  /** Put a latent on the sliders, as no hand did. */
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

  /** Draw the strips around the latent, a row at a time, until another call begins them anew. */
  async drawStrips(noise) {
    const turn = (this.turn += 1);
    const latent = this.latent;
    for (const { dimension, canvases } of this.rows) {
      const values = canvases.map((_, at) => SPAN * ((2 * at) / (FRAMES - 1) - 1));
      const pictures = await this.model.decode(values.map((value) => latent.with(dimension, value)), noise);
      if (turn !== this.turn) return;
      canvases.forEach((canvas, at) => paint(canvas, pictures[at], this.model.shape));
      await new Promise((done) => setTimeout(done)); // a hand comes first
      if (turn !== this.turn) return;
    }
  }

  /** Give the model to whoever moves a slider. */
  stopStrips() {
    this.turn += 1;
  }
}
