// Pictures from outside: chosen, dropped, pasted or drawn; fitted, encoded, and put into the sliders.

import { paint, Turns } from "./draw.js";
import { fit, fitFile } from "./fit.js";
import { check } from "./numbers.js";

const PEN = 18; // pixels of the pad, which has 280

export class Own {
  /**
   * ask() begins a request when a picture came, and taken(mean) is called with its posterior mean unless a later request
   * began; guarded(work) is work whose errors are said on the page.
   */
  constructor(model, ask, taken, guarded) {
    const find = (name) => document.querySelector(`#${name}`);
    Object.assign(this, { model, ask, taken, guarded, find, turns: new Turns() });
    this.again = null;
    find("file").addEventListener("click", ({ target }) => (target.value = "")); // so that the same file can be tried again
    find("file").addEventListener("change", ({ target }) => target.files[0] && this.file(target.files[0]));
    find("invert").addEventListener("change", () => this.again?.());
    addEventListener("paste", ({ clipboardData }) => {
      const file = [...clipboardData.files][0];
      if (file) this.file(file);
    });
    addEventListener("dragover", () => document.body.classList.add("dropping"));
    addEventListener("dragleave", () => document.body.classList.remove("dropping"));
    addEventListener("drop", guarded(async (event) => {
      document.body.classList.remove("dropping");
      const file = event.dataTransfer.files[0];
      check(file, "a file with a picture, got something else; save it first, then drop the file");
      await this.file(file);
    }));
    this.pad(find("pad"));
  }

  file(file) {
    return this.picture(() => fitFile(file, this.model.shape, this.find("invert").value));
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
    canvas.addEventListener("pointercancel", () => (last = null));
    canvas.addEventListener("pointerup", () => {
      last = null;
      this.picture(async () => fit(canvas, this.model.shape, "no"));
    });
  }

  /** Take the picture that read() gives, now and whenever how to take it changes. */
  picture(read) {
    this.again = this.guarded(async () => this.take(read));
    return this.again();
  }

  async take(read) {
    const newest = this.turns.begin();
    const asked = this.ask();
    const fitted = await newest(read());
    if (!fitted) return;
    paint(this.find("fitted"), fitted.levels, this.model.shape);
    this.find("fitted-words").textContent = `as the model sees it${fitted.inverted ? ", made negative" : ""}`;
    this.find("rebuilt-words").textContent = "encoding …";
    const posterior = await newest(this.model.encode(fitted.levels)).catch((error) => {
      this.find("rebuilt-words").textContent = "not encoded";
      throw error;
    });
    if (!posterior) return;
    const { mean, logVariance } = posterior;
    const pictures = await newest(this.model.decode([mean]));
    if (!pictures) return;
    paint(this.find("rebuilt"), pictures[0], this.model.shape);
    const kl = mean.reduce((sum, m, at) => sum + 0.5 * (Math.exp(logVariance[at]) + m * m - 1 - logVariance[at]), 0);
    this.find("rebuilt-words").textContent = `what ${this.model.width} numbers keep (${kl.toFixed(1)} nats)`;
    if (await asked(true)) this.taken(mean);
  }
}
