"""Made-up directions for tests of the page: simple ones, of which one can tell exactly what they do."""

from __future__ import annotations

from typing import Any

import example_drivers

MADE_UP = """
// Attributes that are sums of the latent's numbers: two for all classes, and one for class 1 alone.
const AXES = { shade: [0, 1], width: [2, -1], "sleeve length": [3, 4] };
const only = { "sleeve length": [1] };
const weigh = (name, at) => (Math.abs(AXES[name][0]) === at ? 1 : AXES[name][1] === at ? 0.5 : 0);
VAE.prototype.directions = async function () {
  return Object.keys(AXES).map((name) => ({ name, attribute: name, labels: only[name] ?? null }));
};
VAE.prototype.attributes = async function (latent, { label = 0 } = {}) {
  const names = Object.keys(AXES).filter((name) => !only[name] || only[name].includes(label));
  return Object.fromEntries(names.map((name) =>
    [name, Array.from(latent).reduce((sum, value, at) => sum + value * weigh(name, at), 0)]));
};
VAE.prototype.move = async function (latent, name, position, { label = 0 } = {}) {
  const amount = position - (await this.attributes(latent, { label }))[name];
  const square = Array.from(latent).reduce((sum, _, at) => sum + weigh(name, at) ** 2, 0);
  return Float32Array.from(latent, (value, at) => value + (amount * weigh(name, at)) / square);
};
"""


def give_directions(page: Any) -> None:
    """Makes a Playwright page load a vae.mjs with made-up directions."""
    body = (example_drivers.EXAMPLES / "vae.mjs").read_text("utf-8") + MADE_UP
    page.route("**/examples/vae.mjs", lambda route: route.fulfill(body=body, content_type="text/javascript"))
