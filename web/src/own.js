// The user's own pictures, which come from a camera, a file, a drop, the clipboard or the pad: fitted, encoded, and put into
// the sliders.

import { fit, fitFile } from "../../examples/fit.mjs";
import { check } from "../../examples/vae.mjs";
import { Camera } from "./camera.js";
import { paint, pictures, Turns } from "./draw.js";
import { Pad } from "./pad.js";

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
    for (const name of ["file", "snap"]) {
      find(name).addEventListener("click", ({ target }) => (target.value = "")); // so that the same file can be tried again
      find(name).addEventListener("change", ({ target }) => target.files[0] && this.file(target.files[0]));
    }
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
    this.pad = new Pad(vae, () => this.picture(async () => this.fitted(find("pad"))));
    this.camera = new Camera((canvas) => this.picture(async () => this.fitted(canvas)), guarded);
  }

  get choice() {
    return [this.find("invert").value, this.find("trim").value === "yes"];
  }

  fitted(canvas) {
    return fit(canvas, this.vae, ...this.choice);
  }

  file(file) {
    return this.picture(() => fitFile(file, this.vae, ...this.choice));
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
    this.find("strange").hidden = losses.familiar[0];
    this.find("strange-words").textContent = losses.familiar[0] ? "" : this.strange;
    this.find("own-words").textContent = fitted.steps.length ? `What was done to the picture: ${fitted.steps.join(", ")}.` : "";
    paint(this.find("rebuilt"), made[0], this.vae.imageShape);
    const kl = mean.reduce((sum, m, at) => sum + 0.5 * (Math.exp(logVariance[at]) + m * m - 1 - logVariance[at]), 0);
    this.find("rebuilt-words").textContent = `what the latent keeps of it: ${kl.toFixed(1)} nats`;
    if (!(await asked(true))) return;
    this.taken(mean);
    dispatchEvent(new CustomEvent("encoded", { detail: { levels: fitted.levels, mean, logVariance } })); // the lesson follows
  }

  /** What is said of a picture that does not resemble the training pictures. */
  get strange() {
    const { data } = this.vae.manifest;
    return `Unlike anything that this model knows. It was trained on ${data?.name ?? "other pictures"}, and answers every ` +
      "picture with the nearest thing that it can make, so these numbers mean little.";
  }
}
