// A map of test images by their latents, from the model folder's map.json: a plane to drag and zoom, each place of which decodes.

import { bytesOf } from "../../examples/vae.mjs";
import { element, latest, paint, pictures } from "./draw.js";

const HUES = 137.5; // degrees between the hues of two classes with neighbouring numbers, after the first ten
const COLOURS = ["#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951", "#ff8ab7", "#a463f2", "#97bbf5", "#9c6b4e", "#8a8f98"];
const MARGIN = 0.94; // share of the canvas that the whole map fills
const LARGEST = 16; // times
const NEIGHBOURS = 6; // test images that a place between them is made of
const REACH = { mouse: 7, pen: 12, touch: 22 }; // pixels from a point, within which a hand means it
const FAR = 0.07; // of the map's side: a place without a test image that near
const STILL = 6; // pixels that a hand may move in a click
const STEP = 1 / 24; // of the visible part, for an arrow key

const find = (name) => document.querySelector(`#${name}`);
const colourOf = (label) => COLOURS[Math.max(0, label)] ?? `hsl(${Math.round(label * HUES) % 360} 60% 55%)`;
const clamp = (value, low, high) => Math.max(low, Math.min(high, value));

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

/** The nearest points with weights that sum to 1, the nearest first; far(point) is the square of a distance. */
function nearest(points, far, count = NEIGHBOURS) {
  const best = []; // [square, point], sorted
  for (const point of points) {
    const square = far(point);
    if (best.length === count && square >= best[count - 1][0]) continue;
    let at = best.length;
    while (at > 0 && best[at - 1][0] > square) at -= 1;
    best.splice(at, 0, [square, point]);
    best.length = Math.min(best.length, count);
  }
  const weights = best.map(([square]) => 1 / (square + 1e-9));
  const sum = weights.reduce((total, weight) => total + weight);
  return best.map(([square, point], at) => ({ point, square, weight: weights[at] / sum }));
}

export class LatentMap {
  constructor(page, points, classes) {
    const canvas = find("points");
    Object.assign(this, { page, canvas, points, classes, hands: new Map(), at: null, here: null, view: { x: 0.5, y: 0.5, zoom: 1 } });
    this.layer = element("canvas"); // the points, which are drawn anew only for another view
    const named = points.some(({ label }) => label >= 0) ? classes : []; // a map has no labels of very many classes
    find("legend").replaceChildren(...named.map((name, label) => {
      const dot = element("span");
      dot.style.background = colourOf(label);
      return element("li", {}, dot, name);
    }));
    this.mark = latest(async () => this.drawMarks());
    this.look = latest(page.errors.guard(async ({ latent, words }) => {
      const [levels] = await pictures(page.vae, [latent]);
      paint(find("pointed"), levels, page.vae.imageShape);
      find("pointed-words").textContent = words;
    }, canvas));
    this.wire();
    new ResizeObserver(() => this.draw()).observe(canvas);
    this.go({ x: points[0].x, y: points[0].y });
  }

  wire() {
    const { canvas, hands } = this;
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      hands.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
      if (hands.size === 1) this.click = { x: event.offsetX, y: event.offsetY };
      else this.click = null; // two fingers
    });
    canvas.addEventListener("pointermove", (event) => this.handMoved(event));
    canvas.addEventListener("pointerup", (event) => {
      hands.delete(event.pointerId);
      if (this.click) this.take(this.world(event.offsetX, event.offsetY), REACH[event.pointerType]);
      this.click = null;
    });
    canvas.addEventListener("pointercancel", (event) => {
      hands.delete(event.pointerId);
      this.click = null;
    });
    canvas.addEventListener("wheel", (event) => {
      const { zoom } = this.view;
      this.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0018)), event.offsetX, event.offsetY);
      if (this.view.zoom !== zoom) event.preventDefault(); // at the end of the zoom, the page scrolls
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      const scale = { "+": 1.5, "=": 1.5, "-": 1 / 1.5 }[event.key];
      if (step) this.step(...step);
      else if (scale) this.zoomAt(this.at, scale);
      else if (event.key === "0") this.whole();
      else if (event.key === "Enter") this.take(this.at, REACH.mouse);
      else return;
      event.preventDefault();
    });
    find("map-in").addEventListener("click", () => this.zoomAt(this.here, 1.6));
    find("map-out").addEventListener("click", () => this.zoomAt(this.here, 1 / 1.6));
    find("map-all").addEventListener("click", () => this.whole());
  }

  handMoved(event) {
    const { hands } = this;
    const now = { x: event.offsetX, y: event.offsetY };
    const before = hands.get(event.pointerId);
    if (!before) { // a mouse that hovers
      this.go(this.world(now.x, now.y), REACH[event.pointerType]);
      return;
    }
    if (this.click && Math.hypot(now.x - this.click.x, now.y - this.click.y) < STILL) return;
    this.click = null;
    const other = [...hands].find(([id]) => id !== event.pointerId)?.[1];
    hands.set(event.pointerId, now);
    if (other) { // a pinch keeps what is between the fingers where it is
      const spread = Math.hypot(now.x - other.x, now.y - other.y) / Math.max(1, Math.hypot(before.x - other.x, before.y - other.y));
      this.zoom(spread, (now.x + other.x) / 2, (now.y + other.y) / 2);
    }
    const [width, height] = this.size();
    const share = other ? 0.5 : 1;
    this.view.x -= (share * (now.x - before.x)) / width;
    this.view.y -= (share * (now.y - before.y)) / height;
    this.draw();
  }

  /** Pixels of the whole map at the present zoom. */
  size() {
    const { canvas, view } = this;
    return [MARGIN * view.zoom * canvas.clientWidth, MARGIN * view.zoom * canvas.clientHeight];
  }

  /** The pixel of a place. */
  screen({ x, y }) {
    const [width, height] = this.size();
    return [this.canvas.clientWidth / 2 + (x - this.view.x) * width, this.canvas.clientHeight / 2 + (y - this.view.y) * height];
  }

  /** The place of a pixel. */
  world(px, py) {
    const [width, height] = this.size();
    return { x: this.view.x + (px - this.canvas.clientWidth / 2) / width, y: this.view.y + (py - this.canvas.clientHeight / 2) / height };
  }

  /** Zooms around a pixel, or the middle, so that what is there stays there. */
  zoom(factor, px = this.canvas.clientWidth / 2, py = this.canvas.clientHeight / 2) {
    const before = this.world(px, py);
    this.view.zoom = clamp(this.view.zoom * factor, 1, LARGEST);
    const after = this.world(px, py);
    this.view.x += before.x - after.x;
    this.view.y += before.y - after.y;
    this.draw();
  }

  /** Zooms around a place, if it is in view. */
  zoomAt(place, factor) {
    const [x, y] = this.screen(place);
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (x >= 0 && x <= width && y >= 0 && y <= height) this.zoom(factor, x, y);
    else this.zoom(factor);
  }

  whole() {
    this.view = { x: 0.5, y: 0.5, zoom: 1 };
    this.draw();
  }

  step(dx, dy) {
    const { view } = this;
    this.go({ x: clamp(this.at.x + (dx * STEP) / view.zoom, 0, 1), y: clamp(this.at.y + (dy * STEP) / view.zoom, 0, 1) }, REACH.mouse);
    const half = 0.45 / view.zoom;
    const [x, y] = [clamp(view.x, this.at.x - half, this.at.x + half), clamp(view.y, this.at.y - half, this.at.y + half)];
    if (x === view.x && y === view.y) return;
    Object.assign(view, { x, y });
    this.draw();
  }

  /**
   * What a place stands for: { latent, words, label }. Within reach of a point, in pixels, it is that test image; elsewhere its
   * latent is the mean of those of the nearest ones, in which the nearer ones count more.
   */
  place({ x, y }, reach = 0) {
    const [width, height] = this.size();
    const found = nearest(this.points, (point) => ((point.x - x) * width) ** 2 + ((point.y - y) * height) ** 2);
    const name = ({ label }) => this.classes[label] ?? "";
    const [{ point, square }] = found;
    if (Math.sqrt(square) <= Math.max(reach, 1)) {
      return { latent: point.latent, label: point.label, words: `a test image${name(point) && `, ${name(point)}`}`, point };
    }
    const latent = point.latent.map((_, at) => found.reduce((sum, one) => sum + one.weight * one.point.latent[at], 0));
    const names = [...new Set(found.map((one) => name(one.point)).filter(Boolean))].slice(0, 2).join(" and ");
    const far = Math.sqrt(square) > FAR * Math.min(width, height);
    return { latent, words: `${far ? "far from all test images, the nearest" : "between test images"}${names && `: ${names}`}` };
  }

  /** Points at a place, and shows its picture. */
  go(place, reach) {
    const found = this.place(place, reach);
    this.at = found.point ?? place;
    this.look(found);
    this.mark();
  }

  /** Moves the sliders to a place. */
  take(place, reach) {
    this.go(place, reach);
    const { latent, words, label } = this.place(this.at, 0);
    this.page.take(latent, `the map: ${words}`, label >= 0 ? label : undefined);
  }

  /** Marks where a latent lies: at the mean of the places of the test images with the nearest latents. */
  follow(latent) {
    const far = (point) => point.latent.reduce((sum, value, at) => sum + (value - latent[at]) ** 2, 0);
    const found = nearest(this.points, far);
    const mean = (axis) => found.reduce((sum, { point, weight }) => sum + weight * point[axis], 0);
    this.here = { x: mean("x"), y: mean("y") };
    this.mark();
  }

  draw() {
    const { canvas, layer, view } = this;
    view.x = clamp(view.x, 0.5 / view.zoom, 1 - 0.5 / view.zoom);
    view.y = clamp(view.y, 0.5 / view.zoom, 1 - 0.5 / view.zoom);
    const dense = devicePixelRatio;
    const [width, height] = [Math.round(canvas.clientWidth * dense), Math.round(canvas.clientHeight * dense)];
    if (!width) return;
    for (const each of [layer, canvas]) if (each.width !== width || each.height !== height) Object.assign(each, { width, height });
    const context = layer.getContext("2d");
    context.setTransform(dense, 0, 0, dense, 0, 0);
    context.clearRect(0, 0, width, height);
    const radius = 2.4 * Math.min(2.5, Math.sqrt(view.zoom)) * (canvas.clientWidth > 600 ? 1.2 : 1);
    for (const point of this.points) {
      const [x, y] = this.screen(point);
      context.fillStyle = colourOf(point.label);
      context.beginPath();
      context.arc(x, y, radius, 0, 7);
      context.fill();
    }
    this.drawMarks();
  }

  drawMarks() {
    const { canvas, layer } = this;
    const context = canvas.getContext("2d");
    const { color, backgroundColor } = getComputedStyle(canvas.parentElement);
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (layer.width) context.drawImage(layer, 0, 0);
    context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    const ring = (place, radius, words) => {
      const [x, y] = this.screen(place);
      for (const [style, line] of [[backgroundColor, 6], [color, 2.5]]) {
        Object.assign(context, { strokeStyle: style, lineWidth: line, font: `600 14px ${getComputedStyle(canvas).fontFamily}` });
        context.beginPath();
        context.arc(x, y, radius, 0, 7);
        context.stroke();
        if (!words) continue;
        const left = x + radius + 6 + context.measureText(words).width > canvas.clientWidth;
        context.textAlign = left ? "right" : "left";
        const at = [words, left ? x - radius - 6 : x + radius + 6, y + 5];
        if (line > 3) context.strokeText(...at);
        context.fillStyle = color;
        context.fillText(...at);
      }
    };
    if (this.at) ring(this.at, 7);
    if (this.here) ring(this.here, 11, "you are here");
  }
}
