// The drawing pad: pencil, fill and eraser, undo, for a pointer and for the keyboard.

import { isBright } from "../../examples/fit.mjs";

const SIDE = 280; // pixels of the pad's longer side
const PEN = 18; // pixels, or one and a half pixels of the model's image where that is more
const CLOSE = 48; // levels by which the colours of one area may differ, because the edges of strokes are soft
const SOFT = 2; // pixels of a stroke's edge, which a fill covers
const UNDO = 30; // drawings that are kept
const FAR = 5; // times the step of an arrow key, with Shift

const find = (name) => document.querySelector(`#${name}`);
const hex = (level) => `#${level.toString(16).padStart(2, "0").repeat(3)}`;

/** Adds the pixels on all four sides to an area, which is 1 in the mask and 0 elsewhere. */
function grow(mask, width) {
  const before = mask.slice();
  before.forEach((is, at) => {
    if (!is) return;
    if (at % width) mask[at - 1] = 1;
    if ((at + 1) % width) mask[at + 1] = 1;
    if (at >= width) mask[at - width] = 1;
    if (at + width < mask.length) mask[at + width] = 1;
  });
}

export class Pad {
  /** A pad for pictures of a model; drawn() is called after each stroke, and after what was undone. */
  constructor(vae, drawn) {
    const [channels, height, width] = vae.imageShape;
    const longer = Math.max(height, width);
    this.canvas = find("pad");
    Object.assign(this, { drawn, tool: "pencil", ground: vae.preparation.background, past: [], last: null, step: SIDE / longer });
    Object.assign(this.canvas, { width: (SIDE * width) / longer, height: (SIDE * height) / longer });
    Object.assign(this.canvas.parentElement.style, { width: `${(100 * width) / longer}%`, aspectRatio: width / height });
    this.context = this.canvas.getContext("2d", { willReadFrequently: true });
    Object.assign(this.context, { lineWidth: Math.max(PEN, (1.5 * SIDE) / longer), lineCap: "round", lineJoin: "round" });
    find("pen").parentElement.hidden = channels === 1;
    find("shade").parentElement.hidden = channels !== 1;
    const dark = isBright(this.ground);
    find("pen").value = dark ? "#222222" : "#dddddd";
    find("shade").value = dark ? 34 : 221;
    this.colour = () => (this.tool === "eraser" ? this.ground : channels === 1 ? hex(find("shade").valueAsNumber) : find("pen").value);
    this.at = { x: this.canvas.width / 2, y: this.canvas.height / 2 };
    this.wipe();
    this.wire();
  }

  wire() {
    const tools = [...document.querySelectorAll("[data-tool]")];
    this.choose = (name) => {
      this.tool = name;
      tools.forEach((one) => one.setAttribute("aria-pressed", String(one.dataset.tool === name)));
    };
    tools.forEach((one) => one.addEventListener("click", () => this.choose(one.dataset.tool)));
    find("wipe").addEventListener("click", () => {
      this.keep();
      this.wipe();
    });
    find("unstroke").addEventListener("click", () => this.undo());
    const { canvas } = this;
    const place = (event) => ({ x: (event.offsetX * canvas.width) / canvas.clientWidth, y: (event.offsetY * canvas.height) / canvas.clientHeight });
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.down(place(event));
    });
    canvas.addEventListener("pointermove", (event) => this.last && this.line(place(event)));
    canvas.addEventListener("pointercancel", () => this.up());
    canvas.addEventListener("pointerup", () => this.up());
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("focus", () => this.cursor(canvas.matches(":focus-visible")));
    canvas.addEventListener("blur", () => {
      this.cursor(false);
      this.up();
    });
  }

  /** The arrow keys move the cursor; Space puts the pencil down and lifts it, or fills. */
  key(event) {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    const tool = { p: "pencil", f: "fill", e: "eraser" }[event.key];
    if (step) {
      const far = this.step * (event.shiftKey ? FAR : 1);
      const within = (value, most) => Math.max(0, Math.min(most, value));
      this.at = { x: within(this.at.x + far * step[0], this.canvas.width), y: within(this.at.y + far * step[1], this.canvas.height) };
      if (this.last) this.line(this.at);
      this.cursor(true);
    } else if (event.key === " " || event.key === "Enter") {
      if (this.last) this.up();
      else this.down(this.at);
      this.cursor(true);
    } else if (tool && !event.ctrlKey && !event.metaKey) {
      if (this.last) this.up();
      this.choose(tool);
      this.tell(`${tool} chosen`);
    } else if (event.key.toLowerCase() === "z" && (event.ctrlKey || event.metaKey)) {
      this.undo();
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation(); // or the page would undo, too
  }

  /** Shows where the keyboard draws. */
  cursor(shown) {
    const cross = find("cross");
    cross.hidden = !shown;
    Object.assign(cross.style, { left: `${(100 * this.at.x) / this.canvas.width}%`, top: `${(100 * this.at.y) / this.canvas.height}%` });
    cross.classList.toggle("down", Boolean(this.last));
    if (shown) {
      const [x, y] = [this.at.x, this.at.y].map((value) => Math.round(value / this.step));
      this.tell(`${this.last ? "drawing" : "cursor"} at column ${x}, row ${y}`);
    }
  }

  tell(words) {
    find("pad-words").textContent = words;
  }

  // What the tools do.

  down(place) {
    this.keep();
    if (this.tool === "fill") {
      this.fill(place);
      this.drawn();
      return;
    }
    this.last = place;
    this.line(place); // a dot
  }

  line(next) {
    const { context, last } = this;
    context.strokeStyle = context.fillStyle = this.colour();
    context.beginPath();
    if (next.x === last.x && next.y === last.y) {
      context.arc(next.x, next.y, context.lineWidth / 2, 0, 2 * Math.PI); // browsers differ about lines of no length
      context.fill();
    } else {
      context.moveTo(last.x, last.y);
      context.lineTo(next.x, next.y);
      context.stroke();
    }
    this.last = next;
  }

  up() {
    if (!this.last) return;
    this.last = null;
    this.drawn();
  }

  /** Fills the area of one colour around a place. */
  fill({ x, y }) {
    const { width, height } = this.canvas;
    const pixels = this.context.getImageData(0, 0, width, height);
    const all = new Uint32Array(pixels.data.buffer);
    const at = Math.min(height - 1, Math.floor(y)) * width + Math.min(width - 1, Math.floor(x));
    const old = pixels.data.slice(4 * at, 4 * at + 3);
    this.context.fillStyle = this.colour();
    this.context.fillRect(0, 0, 1, 1); // so that the browser reads the colour
    const [colour] = new Uint32Array(this.context.getImageData(0, 0, 1, 1).data.buffer);
    const near = (one) => old.every((level, channel) => Math.abs(pixels.data[4 * one + channel] - level) <= CLOSE);
    const [seen, open] = [new Uint8Array(all.length), [at]];
    while (open.length) {
      const one = open.pop();
      if (seen[one] || !near(one)) continue;
      seen[one] = 1;
      if (one % width) open.push(one - 1);
      if ((one + 1) % width) open.push(one + 1);
      if (one >= width) open.push(one - width);
      if (one + width < all.length) open.push(one + width);
    }
    for (let edge = 0; edge < SOFT; edge += 1) grow(seen, width);
    seen.forEach((is, one) => is && (all[one] = colour));
    this.context.putImageData(pixels, 0, 0);
  }

  wipe() {
    this.context.fillStyle = this.ground;
    this.context.fillRect(0, 0, this.canvas.width, this.canvas.height);
  }

  keep() {
    this.past.push(this.context.getImageData(0, 0, this.canvas.width, this.canvas.height));
    if (this.past.length > UNDO) this.past.shift();
    find("unstroke").setAttribute("aria-disabled", "false");
  }

  undo() {
    const before = this.past.pop();
    if (!before) return;
    this.last = null;
    this.context.putImageData(before, 0, 0);
    find("unstroke").setAttribute("aria-disabled", String(!this.past.length));
    this.tell("undone");
    this.drawn();
  }
}
