// A slider for each number of the latent.

import { pause, Turns } from "./draw.js";
import { NAMES } from "./names.js";
import { Row } from "./row.js";

const SPAN = 3; // prior standard deviations to each side
const UNUSED = 0.01; // nats; a dimension with less information changes nothing

export class Sliders {
  /**
   * Fills the element `place`. hears has moved(dimension, value), while a user moves a slider; settled(name), when it has come
   * to rest; and looked(levels), with the picture of a strip under the pointer, or null.
   */
  constructor(place, vae, hears) {
    this.vae = vae;
    this.latent = Array(vae.latentDim).fill(0);
    const { order, kl_nats: kl } = vae.manifest.latent;
    const names = NAMES[vae.manifest.training?.weights_sha256] ?? {};
    this.rows = order.map((dimension) => {
      const [low, high] = names[dimension] ?? [];
      const name = low ? `${low} ↔ ${high}` : `z${dimension}`;
      const note = `${low ? `z${dimension}, ` : ""}${kl[dimension].toFixed(2)} nats`;
      const row = new Row({ id: `z${dimension}`, span: SPAN, name, note }, {
        move: (value) => {
          this.latent = this.latent.with(dimension, value);
          row.set(value);
          hears.moved(dimension, value);
        },
        settle: () => hears.settled(`z${dimension}`),
        looked: hears.looked,
      });
      row.element.classList.toggle("unused", kl[dimension] < UNUSED);
      return Object.assign(row, { dimension });
    });
    place.replaceChildren(...this.rows.map((row) => row.element));
    this.turns = new Turns();
  }

  /** Moves the sliders to a latent. */
  set(latent) {
    this.latent = Array.from(latent);
    for (const row of this.rows) row.set(this.latent[row.dimension]);
  }

  /** Draws the strips around the latent, one after the other, until another call begins anew. */
  async drawStrips(noise) {
    const newest = this.turns.begin();
    const { latent } = this;
    for (const row of this.rows) {
      const latents = row.values.map((value) => latent.with(row.dimension, value));
      if (!(await row.draw(this.vae, latents, noise, newest)) || !(await newest(pause()))) return;
    }
  }

  /** Stops drawing strips, so that the model is free for the large picture. */
  stopStrips() {
    this.turns.end();
  }
}
