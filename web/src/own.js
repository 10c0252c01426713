// The user's own pictures, which are chosen, dropped, pasted or drawn: fitted, encoded, and put into the sliders.

import { check } from "../../examples/vae.mjs";
import { paint, pictures, Turns } from "./draw.js";
import { fit, fitFile } from "./fit.js";

const PEN = 18; // pixels of the pad, which has 280

export class Own {
  /**
   * ask() begins a request when a picture arrives, and taken(mean) is called with its posterior mean unless a later request
   * has begun. guarded(work) makes a function that shows the errors of work on the page.
   */
  constructor(vae, ask, taken, guarded) {
    const find = (name) => document.querySelector(`#${name}`);
    Object.assign(this, { vae, ask, taken, guarded, find, turns: new Turns() });
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
    return this.picture(() => fitFile(file, this.vae.imageShape, this.find("invert").value));
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
      this.picture(async () => fit(canvas, this.vae.imageShape, "no"));
    });
  }

  /** Takes the picture that read() returns, now, and again when the user changes how it is inverted. */
  picture(read) {
    this.again = this.guarded(async () => this.take(read));
    return this.again();
  }

  async take(read) {
    const newest = this.turns.begin();
    const asked = this.ask();
    const fitted = await newest(read());
    if (!fitted) return;
    paint(this.find("fitted"), fitted.levels, this.vae.imageShape);
    this.find("fitted-words").textContent = `as the model sees it${fitted.inverted ? ", inverted" : ""}`;
    this.find("rebuilt-words").textContent = "encoding …";
    const posterior = await newest(this.vae.encode(fitted.levels)).catch((error) => {
      this.find("rebuilt-words").textContent = "not encoded";
      throw error;
    });
    if (!posterior) return;
    const { mean, logVariance } = posterior;
    const made = await newest(pictures(this.vae, [mean]));
    if (!made) return;
    paint(this.find("rebuilt"), made[0], this.vae.imageShape);
    const kl = mean.reduce((sum, m, at) => sum + 0.5 * (Math.exp(logVariance[at]) + m * m - 1 - logVariance[at]), 0);
    this.find("rebuilt-words").textContent = `what the latent keeps of it: ${kl.toFixed(1)} nats`;
    if (await asked(true)) this.taken(mean);
  }
}
