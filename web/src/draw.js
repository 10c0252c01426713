// Pictures on canvases, and small tools that several parts of the page need.

import { greyLevels, rows } from "../../examples/vae.mjs";

/**
 * The pictures of latents, each as levels 0 … 255. With noise, which is one row for each latent or one for all, the detail
 * stage draws them; without it they are the decoder's mean pictures.
 */
export async function pictures(vae, latents, noise = null) {
  return rows(greyLevels(await vae.decode(latents, { noise })), latents.length);
}

/** Puts the levels of a picture, grey or colour, on a canvas of the image's own size, which CSS enlarges smoothly. */
export function paint(canvas, levels, [channels, height, width]) {
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const pixels = new ImageData(width, height);
  const size = width * height;
  for (let at = 0; at < size; at += 1) {
    for (let colour = 0; colour < 3; colour += 1) pixels.data[4 * at + colour] = levels[channels === 3 ? colour * size + at : at];
    pixels.data[4 * at + 3] = 255;
  }
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}

/**
 * Enlarges the levels of a picture by a whole number, so that its longer side has at most `side` pixels.
 * Returns { levels, shape }.
 */
export function enlarged(levels, [channels, height, width], side) {
  const scale = Math.max(1, Math.floor(side / Math.max(height, width)));
  const [h, w] = [height * scale, width * scale];
  const made = Uint8Array.from({ length: channels * h * w }, (_, at) => {
    const [x, y] = [at % w, Math.floor(at / w)]; // the rows of all channels lie below each other
    return levels[Math.floor(y / scale) * width + Math.floor(x / scale)];
  });
  return { levels: made, shape: [channels, h, w] };
}

/** A new element with properties and children. */
export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** Offers a file for download. */
export function save(name, content, type) {
  const link = element("a", { href: URL.createObjectURL(new Blob([content], { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** Requests of which only the latest counts: the result or the failure of an earlier one is dropped. */
export class Turns {
  now = 0;

  /** Begins a request. The function that it returns awaits work, and gives undefined if a later request has begun. */
  begin() {
    const mine = (this.now += 1);
    return async (work) => {
      try {
        const value = await work;
        return mine === this.now ? value : undefined;
      } catch (error) {
        if (mine === this.now) throw error;
        return undefined;
      }
    };
  }

  /** Drops every request that has begun. */
  end() {
    this.now += 1;
  }
}

/** Copies text to the clipboard, which browsers offer to pages from https: or this machine; an old command serves others. */
export async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const field = element("textarea", { value: text });
  document.body.append(field);
  field.select();
  const copied = document.execCommand("copy");
  field.remove();
  if (!copied) throw new Error("expected a browser that lets this page copy, got a refusal; open the page by https:");
}

/** Yields to pending input events. */
export function pause() {
  return new Promise((done) => setTimeout(done, 0, true));
}

/**
 * Makes work run once at a time; of the calls that come meanwhile, only the latest is done. A hand is faster than a model.
 * Each run waits for a frame of the screen, unless `frames` is false. The function has done(), which waits for all runs.
 */
export function latest(work, { frames = true } = {}) {
  let [running, waiting] = [null, null];
  const run = async () => {
    try {
      while (waiting) {
        if (frames) await new Promise(requestAnimationFrame); // at most one picture for each frame
        const next = waiting;
        waiting = null;
        await work(...next);
      }
    } finally {
      running = null;
    }
  };
  const ask = (...values) => {
    waiting = values;
    return (running ??= run());
  };
  return Object.assign(ask, { done: async () => running });
}
