// A map of test images by their latents, from the model folder's map.json.

import { bytesOf } from "../../examples/vae.mjs";
import { element } from "./draw.js";

const HUES = 137.5; // degrees between the hues of two classes with neighbouring numbers, after the first ten
const COLOURS = ["#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951", "#ff8ab7", "#a463f2", "#97bbf5", "#9c6b4e", "#8a8f98"];

const colourOf = (label) => COLOURS[Math.max(0, label)] ?? `hsl(${Math.round(label * HUES) % 360} 60% 55%)`;

/** The points of a map.json: [{ x, y, label, latent }], x and y in 0 … 1. */
export function readMap({ points, dimensions, latent_step: step, places, labels, latents }) {
  const xy = new Uint16Array(bytesOf(places).buffer);
  const label = new Int8Array(bytesOf(labels).buffer);
  const values = new Int16Array(bytesOf(latents).buffer);
  return Array.from({ length: points }, (_, at) => ({
    x: xy[2 * at] / 65535,
    y: xy[2 * at + 1] / 65535,
    label: label[at],
    latent: Array.from(values.subarray(at * dimensions, (at + 1) * dimensions), (value) => value * step),
  }));
}

export class LatentMap {
  /** pointed(point) is called for the point under the pointer, and chosen(point) for the one that is clicked. */
  constructor(canvas, legend, points, classes, pointed, chosen) {
    Object.assign(this, { canvas, points, at: -1, pointed });
    const named = points.some(({ label }) => label >= 0) ? classes : []; // a map has no labels of very many classes
    legend.replaceChildren(...named.map((name, label) => {
      const dot = element("span");
      dot.style.background = colourOf(label);
      return element("li", {}, dot, name);
    }));
    canvas.addEventListener("pointermove", (event) => this.go(this.nearest(event)));
    canvas.addEventListener("pointerdown", (event) => {
      this.go(this.nearest(event));
      if (this.at >= 0) chosen(points[this.at]);
    });
    canvas.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (step) this.go(this.towards(...step));
      else if (event.key === "Enter" && this.at >= 0) chosen(points[this.at]);
      else return;
      event.preventDefault();
    });
    this.draw();
  }

  nearest({ offsetX, offsetY }) {
    const [x, y] = [offsetX / this.canvas.clientWidth, offsetY / this.canvas.clientHeight];
    const far = (point) => (this.px(point) - x) ** 2 + (this.py(point) - y) ** 2;
    return this.points.reduce((best, point, at) => (far(point) < far(this.points[best]) ? at : best), 0);
  }

  /** The nearest point in a direction from the current one. */
  towards(dx, dy) {
    if (this.at < 0) return 0;
    const here = this.points[this.at];
    let [best, shortest] = [this.at, Infinity];
    this.points.forEach((point, at) => {
      const [x, y] = [point.x - here.x, point.y - here.y];
      const [along, across] = [x * dx + y * dy, Math.abs(x * dy) + Math.abs(y * dx)];
      const length = along + 2 * across;
      if (along > 0.002 && length < shortest) [best, shortest] = [at, length];
    });
    return best;
  }

  go(at) {
    if (at === this.at) return;
    this.at = at;
    this.draw();
    this.pointed(this.points[at]);
  }

  px({ x }) {
    return 0.03 + 0.94 * x;
  }

  py({ y }) {
    return 0.03 + 0.94 * y;
  }

  draw() {
    const { width, height } = this.canvas;
    const context = this.canvas.getContext("2d");
    context.clearRect(0, 0, width, height);
    const dot = (point, radius) => {
      context.fillStyle = colourOf(point.label);
      context.beginPath();
      context.arc(this.px(point) * width, this.py(point) * height, radius, 0, 7);
      context.fill();
    };
    this.points.forEach((point) => dot(point, 2.6));
    if (this.at >= 0) {
      dot(this.points[this.at], 7);
      context.lineWidth = 2;
      context.strokeStyle = getComputedStyle(this.canvas).color;
      context.stroke();
    }
  }
}
