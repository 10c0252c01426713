// A slider with its name, its value, a button that moves it there and back, and a film strip of what it does.

import { element, paint, pictures } from "./draw.js";
import { playButton } from "./motion.js";

export const FRAMES = 7;
const SOON = 400; // milliseconds between the taps of a double tap
const NEAR = 30; // pixels between them

export class Row {
  /**
   * A row { id, span, name, note }, whose slider goes from −span to span. hears has move(value), while a user moves the
   * slider; settle(), when it has come to rest; and looked(levels), with the picture of the strip under the pointer, or null.
   */
  constructor({ id, span, name, note }, hears) {
    Object.assign(this, { span, hears, pictures: [] });
    this.input = element("input", { type: "range", min: -span, max: span, step: 0.01, value: 0, id });
    this.output = element("output", { textContent: "0.00" });
    this.output.htmlFor.add(id);
    this.label = element("label", { htmlFor: id }, name, element("small", { textContent: note }));
    this.button = element("button", { type: "button", className: "play", ariaLabel: `Move ${name} there and back` });
    this.strip = element("div", { className: "strip", ariaHidden: "true" });
    this.canvases = Array.from({ length: FRAMES }, () => element("canvas"));
    this.strip.append(...this.canvases);
    this.element = element("div", { className: "slider" }, this.label, this.output, this.button, this.input, this.strip);
    this.wire();
  }

  wire() {
    const { input, hears } = this;
    const jump = (value) => {
      hears.move(value);
      hears.settle();
    };
    input.addEventListener("input", () => hears.move(input.valueAsNumber));
    input.addEventListener("change", () => hears.settle());
    input.addEventListener("keydown", ({ key }) => key === "0" && jump(0));
    for (const part of [this.label, input, this.output]) onDouble(part, () => jump(0));
    const pointed = (work) => ({ target }) => {
      const at = this.canvases.indexOf(target);
      if (at >= 0) work(at);
    };
    this.strip.addEventListener("click", pointed((at) => jump(this.values[at])));
    this.strip.addEventListener("pointerover", pointed((at) => hears.looked(this.pictures[at] ?? null)));
    this.strip.addEventListener("pointerleave", () => hears.looked(null));
    playButton(this.button, () => ({
      from: input.valueAsNumber / this.span, move: (x) => hears.move(this.span * x), settle: hears.settle,
    }));
  }

  /** The values of the pictures of the strip. */
  get values() {
    return this.canvases.map((_, at) => this.span * ((2 * at) / (FRAMES - 1) - 1));
  }

  /** Shows a value. */
  set(value) {
    this.input.value = value;
    this.output.textContent = value.toFixed(2);
  }

  /** Paints the strip with the pictures of these latents; newest() drops late answers. Returns whether it is done. */
  async draw(vae, latents, noise, newest) {
    const made = await newest(pictures(vae, latents, noise));
    if (!made) return false;
    this.pictures = made;
    this.canvases.forEach((canvas, at) => paint(canvas, made[at], vae.imageShape));
    return true;
  }
}

/** Calls work on a double click, and on a double tap, which browsers do not report on a slider. */
function onDouble(part, work) {
  let tapped = { timeStamp: -Infinity };
  part.addEventListener("dblclick", work);
  part.addEventListener("pointerup", (event) => {
    if (event.pointerType !== "touch") return;
    const near = Math.hypot(event.clientX - tapped.clientX, event.clientY - tapped.clientY) < NEAR;
    if (near && event.timeStamp - tapped.timeStamp < SOON) setTimeout(work); // after the slider followed the tap
    tapped = event;
  });
}
