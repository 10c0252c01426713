// Pictures on canvases: many small ones as cards, and one large one.

/** Grey levels on a canvas of the model's own size; CSS scales it up, smoothly. */
export function paint(canvas, levels, [, height, width]) {
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const pixels = new ImageData(width, height);
  for (let at = 0; at < levels.length; at += 1) {
    pixels.data[4 * at] = pixels.data[4 * at + 1] = pixels.data[4 * at + 2] = levels[at];
    pixels.data[4 * at + 3] = 255;
  }
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}

/** Grey levels made larger, each pixel scale × scale. */
export function enlarged(levels, width, height, scale) {
  return Uint8Array.from({ length: width * height * scale * scale }, (_, at) => {
    const [x, y] = [at % (width * scale), Math.floor(at / (width * scale))];
    return levels[Math.floor(y / scale) * width + Math.floor(x / scale)];
  });
}

export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** Hand a file to the user. */
export function save(name, content, type) {
  const link = element("a", { href: URL.createObjectURL(new Blob([content], { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** Turns, of which the last one counts: what an older one brings, or how it fails, is dropped. */
export class Turns {
  now = 0;

  /** A new turn. It awaits work: the work's value, or undefined once a later turn began. */
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

  /** No turn is the last one now. */
  end() {
    this.now += 1;
  }
}

/** Text on the clipboard. Browsers give it to pages from https: and this machine; elsewhere an old command does. */
export async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const field = element("textarea", { value: text });
  document.body.append(field);
  field.select();
  const copied = document.execCommand("copy");
  field.remove();
  if (!copied) throw new Error("expected a browser that lets this page copy, got a refusal; open it by https:");
}

/** Whatever waits, a hand first. */
export function pause() {
  return new Promise((done) => setTimeout(done, 0, true));
}

/** Calls of work one after the other, the last one asked for alone where several wait: a hand is faster than a model. */
export function latest(work) {
  let [running, waiting] = [false, null];
  return async function ask(...values) {
    waiting = values;
    if (running) return;
    running = true;
    try {
      while (waiting) {
        await new Promise(requestAnimationFrame); // at most one picture a frame of the screen
        const next = waiting;
        waiting = null;
        await work(...next);
      }
    } finally {
      running = false;
    }
  };
}
