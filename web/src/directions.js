// A slider for each direction: a way through the space of latents that changes one thing that one can see.

import { latest, pause, Turns } from "./draw.js";
import { ATTRIBUTES } from "./names.js";
import { Row } from "./row.js";

const SPAN = 2.5; // standard deviations of the attribute to each side of the average of the class

export class Directions {
  /**
   * Fills the element `place` with the directions of vae.directions(), some of which are for some classes only. hears has
   * moved(latent), while a user moves a slider; settled(name), when it has come to rest; and looked(levels), with the picture
   * of a strip under the pointer, or null. errors shows what fails.
   */
  constructor(place, vae, directions, hears, errors) {
    Object.assign(this, { vae, hears, latent: null, turns: new Turns(), drag: null, label: undefined });
    this.rows = directions.map(({ name, attribute }, at) => {
      const move = latest(errors.guard((value) => this.move(row, value)), { frames: false });
      const row = new Row({ id: `direction${at}`, span: SPAN, name, note: (name === attribute && ATTRIBUTES[name]) || "" }, {
        move: (value) => {
          this.touched = row;
          row.set(value);
          move(value);
        },
        settle: async () => {
          await move.done();
          this.drag = null;
          hears.settled(name);
        },
        looked: hears.looked,
      });
      return Object.assign(row, { name });
    });
    place.replaceChildren(...this.rows.map((row) => row.element));
    this.follow = latest(errors.follow(() => this.show()));
  }

  /** Moves along a direction to a value, always from the latent at which the movement began, so that a way back ends there. */
  async move(row, value) {
    if (this.drag?.row !== row) {
      const { latent, label } = this;
      this.drag = { row, latent, label, from: (await this.vae.attributes(latent, { label }))[row.name] };
    }
    const { latent, label, from } = this.drag;
    const moved = value === from ? latent : await this.vae.move(latent, row.name, value, { label });
    this.hears.moved(Array.from(moved));
  }

  /** Follows a latent of a class, or of the most likely class if label is undefined. */
  set(latent, label) {
    Object.assign(this, { latent: Array.from(latent), label });
    if (this.rows.length) this.follow();
  }

  /** Shows where the latent lies on each direction, and hides those that its class does not have. */
  async show() {
    const found = await this.vae.attributes(this.latent, { label: this.label });
    for (const row of this.rows) {
      row.element.hidden = !(row.name in found);
      if (row.name in found && this.drag?.row !== row) row.set(found[row.name]);
    }
  }

  /** A number of latents along the direction that was moved last, from end to end; undefined for a model without directions. */
  async way(count) {
    const { latent, label } = this;
    if (!this.rows.length) return undefined;
    const found = await this.vae.attributes(latent, { label });
    const row = [this.touched, ...this.rows].find((one) => one && one.name in found);
    if (!row) return undefined;
    const values = Array.from({ length: count }, (_, at) => SPAN * ((2 * at) / (count - 1) - 1));
    return Promise.all(values.map((value) => this.vae.move(latent, row.name, value, { label })));
  }

  /** Draws the strips around the latent, one after the other, until another call begins anew. */
  async drawStrips(noise) {
    const newest = this.turns.begin();
    const { latent, label } = this;
    if (!this.rows.length) return;
    const found = await newest(this.vae.attributes(latent, { label }));
    if (!found) return;
    for (const row of this.rows.filter(({ name }) => name in found)) {
      const latents = await newest(Promise.all(
        row.values.map((value) => this.vae.move(latent, row.name, value, { label }))));
      if (!latents || !(await row.draw(this.vae, latents, noise, newest)) || !(await newest(pause()))) return;
    }
  }

  stopStrips() {
    this.turns.end();
  }
}
