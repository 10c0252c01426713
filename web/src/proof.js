// The replay of the golden vectors, and what the page says about it.

const find = (name) => document.querySelector(`#${name}`);

export class Proof {
  constructor(vae) {
    Object.assign(this, { vae, checks: [] });
  }

  /** Replays the golden vectors without those of the encoder, which is the largest file and may not be needed yet. */
  async verify() {
    if (this.checks.length) return;
    this.checks = await this.vae.verify({ encodings: false });
    this.tell(" …", "; the encoder's follow");
  }

  async verifyEncodings() {
    try {
      const found = await this.vae.verify({ draws: false });
      if (!this.verifiedAll) this.checks.push(...found); // a picture may have asked for it at the same time
      this.tell();
    } catch {
      this.tell(", without encoder", "; the encoder did not load"); // the reason follows when a picture is to be encoded
    }
  }

  get verifiedAll() {
    return this.checks.some(({ name }) => name === "mean");
  }

  tell(more = "", still = "") {
    const words = (name) => name.replace("_", " ");
    const failed = this.checks.filter(({ passed }) => !passed).map(({ name }) => words(name));
    const counts = ["grey_levels", "label"]; // whole numbers; all other differences are small fractions
    const largest = Math.max(...this.checks.map(({ name, difference }) => (counts.includes(name) ? 0 : difference)));
    const each = this.checks.map(({ name, difference }) =>
      `${words(name)} ${counts.includes(name) ? difference : difference.toFixed(7)}`);
    find("verified").textContent = failed.length
      ? `not verified: ${failed.join(", ")} differ too much`
      : `verified, largest difference ${largest.toFixed(7)}${more}`;
    find("verified").dataset.passed = String(!failed.length);
    find("verified").dataset.covers = this.verifiedAll ? "all" : "draws";
    find("proof").textContent = "This page repeated the model's golden vectors, which are inputs with known outputs. " +
      `The largest differences are: ${each.join(", ")}${still}.`;
  }
}
