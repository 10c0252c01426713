// The user's own pictures, which are chosen, dropped, pasted or drawn: fitted, encoded, and put into the sliders.

import { fit, fitFile, isBright } from "../../examples/fit.mjs";
import { check } from "../../examples/vae.mjs";
import { paint, pictures, Turns } from "./draw.js";

const PAD = 280; // pixels of the pad's longer side
const PEN = 18; // pixels, or one and a half pixels of the model's image where that is more

export class Own {
  /**
   * ask() begins a request when a picture arrives, and taken(mean) is called with its posterior mean unless a later request
   * has begun. guarded(work) makes a function that shows the errors of work on the page.
   */
  constructor(vae, ask, taken, guarded) {
    const find = (name) => document.querySelector(`#${name}`);
    Object.assign(this, { vae, ask, taken, guarded, find, turns: new Turns() });
    this.again = null;
    if (!vae.preparation.invert_bright) { // the model's own pictures may have a bright border
      find("invert").options[0].remove();
      find("invert").value = "no";
    }
    find("trim").parentElement.hidden = !vae.preparation.fill; // the training pictures have no object in one place
    find("file").addEventListener("click", ({ target }) => (target.value = "")); // so that the same file can be tried again
    find("file").addEventListener("change", ({ target }) => target.files[0] && this.file(target.files[0]));
    for (const name of ["invert", "trim"]) find(name).addEventListener("change", () => this.again?.());
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
    return this.picture(() => fitFile(file, this.vae, this.find("invert").value, this.find("trim").value === "yes"));
  }

  pad(canvas) {
    const [channels, height, width] = this.vae.imageShape;
    const longer = Math.max(height, width);
    Object.assign(canvas, { width: (PAD * width) / longer, height: (PAD * height) / longer });
    Object.assign(canvas.style, { width: `${(100 * width) / longer}%`, aspectRatio: width / height });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    const pen = this.find("pen");
    pen.parentElement.hidden = channels === 1;
    pen.value = isBright(this.vae.preparation.background) ? "#222222" : "#dddddd";
    const wipe = () => {
      context.fillStyle = this.vae.preparation.background;
      context.fillRect(0, 0, canvas.width, canvas.height);
    };
    Object.assign(context, { lineWidth: Math.max(PEN, (1.5 * PAD) / longer), lineCap: "round", lineJoin: "round" });
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
      context.strokeStyle = pen.value;
      context.beginPath();
      context.moveTo(...last);
      context.lineTo(...next);
      context.stroke();
      last = next;
    });
    canvas.addEventListener("pointercancel", () => (last = null));
    canvas.addEventListener("pointerup", () => {
      last = null;
      this.picture(async () => fit(canvas, this.vae, "no", false));
    });
  }

  /** Takes the picture that read() returns, now, and again when the user changes how it is inverted or trimmed. */
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
    const trimmed = fitted.steps.some((step) => step.startsWith("trimmed"));
    this.find("fitted-words").textContent = `as the model sees it${fitted.inverted ? ", inverted" : ""}${trimmed ? ", trimmed" : ""}`;
    this.find("own-words").textContent = "";
    this.find("rebuilt-words").textContent = "encoding …";
    const posterior = await newest(this.vae.encode(fitted.levels)).catch((error) => {
      this.find("rebuilt-words").textContent = "not encoded";
      throw error;
    });
    if (!posterior) return;
    const { mean, logVariance } = posterior;
    const made = await newest(pictures(this.vae, [mean]));
    const losses = made && await newest(this.vae.losses(fitted.levels));
    if (!losses) return;
    const steps = fitted.steps.length ? `What was done to the picture: ${fitted.steps.join(", ")}.` : "";
    const strange = losses.familiar[0] ? "" : "This picture does not resemble those that the model was trained on, so its latent means little.";
    this.find("own-words").textContent = [strange, steps].join(" ").trim();
    paint(this.find("rebuilt"), made[0], this.vae.imageShape);
    const kl = mean.reduce((sum, m, at) => sum + 0.5 * (Math.exp(logVariance[at]) + m * m - 1 - logVariance[at]), 0);
    this.find("rebuilt-words").textContent = `what the latent keeps of it: ${kl.toFixed(1)} nats`;
    if (await asked(true)) this.taken(mean);
  }
}
