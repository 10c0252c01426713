// Pictures on canvases, and small tools that several parts of the page need.

import { greyLevels, rows } from "../../examples/vae.mjs";

/**
 * The pictures of latents, each as grey levels. With noise, which is one row for each latent or one for all, the detail
 * stage draws them; without it they are the decoder's mean pictures.
 */
export async function pictures(vae, latents, noise = null) {
  return rows(greyLevels(await vae.decode(latents, { noise })), latents.length);
}

/** Puts grey levels on a canvas of the image's own size, which CSS enlarges smoothly. */
export function paint(canvas, levels, [, height, width]) {
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const pixels = new ImageData(width, height);
  for (let at = 0; at < levels.length; at += 1) {
    pixels.data[4 * at] = pixels.data[4 * at + 1] = pixels.data[4 * at + 2] = levels[at];
    pixels.data[4 * at + 3] = 255;
  }
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}

/** Enlarges grey levels: each pixel becomes scale × scale pixels. */
export function enlarged(levels, width, height, scale) {
  return Uint8Array.from({ length: width * height * scale * scale }, (_, at) => {
    const [x, y] = [at % (width * scale), Math.floor(at / (width * scale))];
    return levels[Math.floor(y / scale) * width + Math.floor(x / scale)];
  });
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

/** Makes work run once at a time; of the calls that come meanwhile, only the latest is done. A hand is faster than a model. */
export function latest(work) {
  let [running, waiting] = [false, null];
  return async function ask(...values) {
    waiting = values;
    if (running) return;
    running = true;
    try {
      while (waiting) {
        await new Promise(requestAnimationFrame); // at most one picture for each frame of the screen
        const next = waiting;
        waiting = null;
        await work(...next);
      }
    } finally {
      running = false;
    }
  };
}
