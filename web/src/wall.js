// Fifty samples of a seed, to choose from.

import { element, paint, pause, Turns } from "./draw.js";

export const FIFTY = 50;
const AT_ONCE = 10; // so that a slower machine shows the first ones early

export class Wall {
  /** place: where they go; chosen(choice, latent, noise, label) is called for the one that was clicked. */
  constructor(place, model, chosen) {
    this.model = model;
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

  /** Fill it with the fifty around the index of a choice { seed, start, prior, label, temperature, detail }. */
  async fill(choice) {
    const newest = this.turns.begin();
    const [seed, start] = [BigInt(choice.seed), BigInt(choice.start)];
    const limit = 2n ** 63n - BigInt(FIFTY);
    const first = start > limit ? limit : start - (start % BigInt(FIFTY));
    const drawn = await newest(this.model.draw(seed, first, FIFTY, choice));
    if (!drawn) return;
    this.drawn = { first, choice, ...drawn };
    this.mark(start);
    for (let at = 0; at < FIFTY; at += AT_ONCE) {
      const noise = choice.detail ? drawn.noise.slice(at, at + AT_ONCE) : null;
      const pictures = await newest(this.model.decode(drawn.latents.slice(at, at + AT_ONCE), noise));
      if (!pictures) return;
      pictures.forEach((levels, within) => {
        const { tile, canvas } = this.tiles[at + within];
        paint(canvas, levels, this.model.shape);
        const name = this.model.classes[drawn.labels[at + within]];
        tile.ariaLabel = `sample ${first + BigInt(at + within)}${name ? `, ${name}` : ""}`;
      });
      if (!(await newest(pause()))) return;
    }
  }
}
