// Fifty samples of a seed, to choose from.

import { rows } from "../../examples/vae.mjs";
import { element, paint, pause, pictures, Turns } from "./draw.js";

export const FIFTY = 50;
const AT_ONCE = 10; // pictures in one run, so that a slow machine shows the first ones early

export class Wall {
  /** Fills the element `place`. chosen(choice, latent, noise, label) is called for the sample that was clicked. */
  constructor(place, vae, chosen) {
    this.vae = vae;
    this.chosen = chosen;
    this.turns = new Turns();
    this.tiles = Array.from({ length: FIFTY }, (_, at) => {
      const canvas = element("canvas", { width: 28, height: 28 });
      const tile = element("button", { type: "button", ariaLabel: `sample ${at}` }, canvas);
      tile.addEventListener("click", () => this.take(at));
      return { tile, canvas };
    });
    place.replaceChildren(...this.tiles.map(({ tile }) => tile));
  }

  take(at) {
    if (!this.drawn) return;
    const { first, choice, latents, labels, noise } = this.drawn;
    const index = first + BigInt(at);
    this.chosen({ ...choice, start: String(index) }, latents[at], noise ? noise[at] : null, labels[at]);
    this.mark(index);
  }

  mark(index) {
    const first = this.drawn?.first ?? 0n;
    this.tiles.forEach(({ tile }, at) => tile.setAttribute("aria-pressed", String(first + BigInt(at) === index)));
  }

  /** Shows the samples around a choice, which are there already if nothing but the index in them has changed. */
  async follow(choice) {
    const start = BigInt(choice.start);
    const { first, choice: before } = this.asked ?? {};
    const same = before && Object.keys(choice).every((name) => name === "start" || choice[name] === before[name]);
    if (same && start >= first && start < first + BigInt(FIFTY)) this.mark(start);
    else await this.fill(choice);
  }

  /** Shows the fifty samples around the index of a choice { seed, start, prior, label, temperature, detail }. */
  async fill(choice) {
    const newest = this.turns.begin();
    const start = BigInt(choice.start);
    const limit = 2n ** 63n - BigInt(FIFTY);
    const first = start > limit ? limit : start - (start % BigInt(FIFTY));
    this.asked = { first, choice };
    const drawn = await newest(this.vae.draw(FIFTY, { ...choice, start: first }));
    if (!drawn) return;
    const { labels } = drawn;
    const [latents, noise] = [rows(drawn.latents, FIFTY), drawn.noise && rows(drawn.noise, FIFTY)];
    this.drawn = { first, choice, labels, latents, noise };
    this.mark(start);
    for (let at = 0; at < FIFTY; at += AT_ONCE) {
      const some = (values) => values.slice(at, at + AT_ONCE);
      const made = await newest(pictures(this.vae, some(latents), choice.detail ? some(noise) : null));
      if (!made) return;
      made.forEach((levels, within) => {
        const { tile, canvas } = this.tiles[at + within];
        paint(canvas, levels, this.vae.imageShape);
        const name = this.vae.classNames[labels[at + within]];
        tile.ariaLabel = `sample ${first + BigInt(at + within)}${name ? `, ${name}` : ""}`;
      });
      if (!(await newest(pause()))) return;
    }
  }
}
