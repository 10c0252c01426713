// Pictures from outside: chosen, dropped, pasted or drawn; fitted, encoded, and put into the sliders.

import { paint } from "./draw.js";
import { fit, fitFile } from "./fit.js";

const PEN = 18; // pixels of the pad, which has 280

export class Own {
  /** taken(latent, words) is called with the posterior mean of each picture; failed(error) with what went wrong. */
  constructor(model, taken, failed) {
    const find = (name) => document.querySelector(`#${name}`);
    Object.assign(this, { model, taken, failed, find });
    this.again = null;
    find("file").addEventListener("change", ({ target }) => target.files[0] && this.file(target.files[0]));
    find("invert").addEventListener("change", () => this.again?.());
    addEventListener("paste", ({ clipboardData }) => {
      const file = [...clipboardData.files][0];
      if (file) this.file(file);
    });
    addEventListener("dragover", (event) => {
      event.preventDefault();
      document.body.classList.add("dropping");
    });
    addEventListener("dragleave", () => document.body.classList.remove("dropping"));
    addEventListener("drop", (event) => {
      event.preventDefault();
      document.body.classList.remove("dropping");
      const file = event.dataTransfer.files[0];
      if (file) this.file(file);
    });
    this.pad(find("pad"));
  }

  file(file) {
    this.again = () => this.guard(async () => this.take(await fitFile(file, this.model.shape, this.find("invert").value)));
    return this.again();
  }

  pad(canvas) {
    const context = canvas.getContext("2d", { willReadFrequently: true });
    const wipe = () => context.fillRect(0, 0, canvas.width, canvas.height);
    Object.assign(context, { lineWidth: PEN, lineCap: "round", lineJoin: "round", strokeStyle: "#ddd" });
    wipe();
    this.find("wipe").addEventListener("click", wipe);
    let last = null;
    const place = (event) => [(event.offsetX * canvas.width) / canvas.clientWidth, (event.offsetY * canvas.height) / canvas.clientHeight];
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      last = place(event);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!last) return;
      const next = place(event);
      context.beginPath();
      context.moveTo(...last);
      context.lineTo(...next);
      context.stroke();
      last = next;
    });
    canvas.addEventListener("pointerup", () => {
      last = null;
      this.again = () => this.guard(async () => this.take(fit(canvas, this.model.shape, "no")));
      this.again();
    });
  }

  async take({ levels, inverted }) {
    paint(this.find("fitted"), levels, this.model.shape);
    this.find("fitted-words").textContent = `as the model sees it${inverted ? ", made negative" : ""}`;
    const { mean, logVariance } = await this.model.encode(levels);
    const [mean_picture] = await this.model.decode([mean]);
    paint(this.find("rebuilt"), mean_picture, this.model.shape);
    const kl = mean.reduce((sum, m, at) => sum + 0.5 * (Math.exp(logVariance[at]) + m * m - 1 - logVariance[at]), 0);
    this.find("rebuilt-words").textContent = `what ${this.model.width} numbers keep (${kl.toFixed(1)} nats)`;
    this.taken(mean);
  }

  async guard(work) {
    try {
      await work();
    } catch (error) {
      this.failed(error);
    }
  }
}
