// Fifty samples of a seed, to choose from.

import { element, paint } from "./draw.js";

export const FIFTY = 50;
const AT_ONCE = 10; // so that a slower machine shows the first ones early

export class Wall {
  /** place: where they go; chosen(index, latent, noise) is called for the one that was clicked. */
  constructor(place, model, chosen) {
    this.model = model;
    this.chosen = chosen;
    this.turn = 0;
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
    const { first, latents, labels, noise } = this.drawn;
    this.chosen(first + BigInt(at), latents[at], noise ? noise[at] : null, labels[at]);
    this.mark(first + BigInt(at));
  }

  mark(index) {
    const first = this.drawn?.first ?? 0n;
    this.tiles.forEach(({ tile }, at) => tile.setAttribute("aria-pressed", String(first + BigInt(at) === index)));
  }

  /** Fill it with the fifty around an index. */
  async fill(seed, start, choice) {
    const turn = (this.turn += 1);
    const limit = 2n ** 63n - BigInt(FIFTY);
    const first = start > limit ? limit : start - (start % BigInt(FIFTY));
    const drawn = { first, ...(await this.model.draw(seed, first, FIFTY, choice)) };
    if (turn !== this.turn) return;
    this.drawn = drawn;
    this.mark(start);
    for (let at = 0; at < FIFTY; at += AT_ONCE) {
      const noise = choice.detail ? drawn.noise.slice(at, at + AT_ONCE) : null;
      const pictures = await this.model.decode(drawn.latents.slice(at, at + AT_ONCE), noise);
      if (turn !== this.turn) return;
      pictures.forEach((levels, within) => {
        const { tile, canvas } = this.tiles[at + within];
        paint(canvas, levels, this.model.shape);
        const name = this.model.classes[drawn.labels[at + within]];
        tile.ariaLabel = `sample ${first + BigInt(at + within)}${name ? `, ${name}` : ""}`;
      });
      await new Promise((done) => setTimeout(done));
    }
  }
}
