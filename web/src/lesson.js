// The lesson: up to six steps that follow one picture, which becomes a few numbers and a picture again. A step that the
// model at hand has nothing for is left out. The lesson moves the sliders of the page, and its drawing follows them.

import { bytesOf, rows } from "../../examples/vae.mjs";
import { element, latest, paint, pictures, Turns } from "./draw.js";
import { word } from "./words.js";

const MEMORY = "vae-gen lesson"; // what the browser remembers: the step at which the lesson was left
const CLOUD = 8; // decodings of one posterior, and samples of each prior
const ALONG = [-1.5, -1, -0.5, 0, 0.5, 1, 1.5]; // positions along a direction
const SPAN = 3; // the largest number that the drawing shows, in standard deviations of the prior
const NUMBERS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"];

/** The words of a sentence, in which [word] and [word|another form] become buttons that explain the word. */
const sentence = (text) => element("p", {}, ...text.split(/(\[[^\]]+\])/).map((part) =>
  part.startsWith("[") ? word(...part.slice(1, -1).split("|")) : part));

const inWords = (n) => NUMBERS[n] ?? String(n);
const decimal = (value) => value.toFixed(1).replace("-", "−");

/** A number from the standard normal distribution. */
const normal = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());

/** How much the posterior of a picture tells, in nats: its KL divergence from N(0, I). */
const natsOf = ({ mean, logVariance }) =>
  mean.reduce((sum, m, at) => sum + 0.5 * (Math.exp(logVariance[at]) + m * m - 1 - logVariance[at]), 0);

/** The step at which the lesson was left; null for a browser that has not seen it, or that remembers nothing. */
function remembered() {
  try {
    const step = JSON.parse(localStorage.getItem(MEMORY));
    return Number.isInteger(step) && step >= 0 ? step : null;
  } catch {
    return null;
  }
}

function remember(step) {
  try {
    localStorage.setItem(MEMORY, JSON.stringify(step));
  } catch {
    // a browser that keeps nothing for this page starts from the beginning next time
  }
}

export class Lesson {
  /**
   * The lesson follows and moves the page by: page.vae, the model; page.now, which is { latent, levels, state, words };
   * page.watch(heard), which calls heard(now) for each new picture; page.take(latent, words), which moves the sliders to a
   * latent; page.glide(latent, words), which does so while something moves; and page.settle(name), when it rests. The section
   * is the first one of the page: on a phone, the picture and a slider must stay on the first screen while it is closed.
   */
  constructor(page) {
    Object.assign(this, { page, vae: page.vae, turns: new Turns(), posterior: null, at: remembered() ?? 0 });
    this.place = document.querySelector("#lesson");
    this.bar = this.place.firstElementChild;
    [this.offer, this.opener] = this.bar.children;
    this.opener.addEventListener("click", () => this.open());
    this.invite();
    new IntersectionObserver(([{ isIntersecting }]) => document.body.classList.toggle("in-lesson", isIntersecting))
      .observe(this.place);
    addEventListener("encoded", ({ detail }) => this.follow(detail)); // a picture of the user's own
    addEventListener("downloaded", ({ detail }) => this.progress(detail));
    if (new URLSearchParams(location.search).has("lesson")) {
      const once = new MutationObserver(() => this.ready() && (once.disconnect(), this.open()));
      once.observe(document.body, { attributes: true, attributeFilter: ["data-state", "data-ready"] });
    }
  }

  ready() {
    return !document.querySelector("main").inert;
  }

  /** Shows the closed lesson: one line with a button. */
  invite() {
    const step = remembered();
    this.offer.textContent = step === null ? "New here? See what this page does."
      : "A lesson on what this page does.";
    this.opener.textContent = step ? "Continue the lesson" : "Start the lesson";
  }

  // Opening, closing and turning pages.

  /** Opens the lesson where it was left. */
  async open() {
    this.build();
    await this.guarded(async () => {
      await this.prepare();
      await this.go(Math.min(this.at, this.steps.length - 1));
    });
  }

  build() {
    if (this.body) return;
    this.title = element("h2", { id: "lesson-title", tabIndex: -1 });
    this.dots = element("ol", { className: "dots" });
    this.text = element("div", { className: "text" });
    this.figure = element("div", { className: "figure" });
    this.said = element("p", { className: "quiet said", ariaLive: "polite" });
    this.wrong = element("p", { className: "wrong" });
    this.wrong.setAttribute("role", "alert");
    this.back = element("button", { type: "button", textContent: "Back" });
    this.next = element("button", { type: "button", className: "strong" });
    this.leave = element("button", { type: "button", textContent: "Leave the lesson" });
    this.back.addEventListener("click", () => this.guarded(() => this.go(this.at - 1)));
    this.next.addEventListener("click", () => (this.at + 1 < this.steps.length ? this.guarded(() => this.go(this.at + 1)) : this.close(0)));
    this.leave.addEventListener("click", () => this.close(this.at));
    const steps = element("nav", { ariaLabel: "Steps of the lesson" }, this.dots);
    this.body = element("div", { className: "lesson" }, element("div", { className: "head" }, this.title, steps),
      this.drawing(), element("div", { className: "columns" }, this.text, this.figure), this.wrong, this.said,
      element("div", { className: "row" }, this.back, this.next, this.leave));
    this.place.replaceChildren(this.body);
    this.page.watch((now) => this.moved(now));
  }

  close(step) {
    remember((this.at = step));
    this.turns.end();
    this.body = null;
    this.place.replaceChildren(this.bar);
    this.invite();
    this.opener.focus();
  }

  /** Decides which steps the model has, and chooses a first picture: one of the golden vectors' test images. */
  async prepare() {
    if (this.steps) return;
    this.title.textContent = "The lesson";
    const [golden, directions] = await Promise.all([this.vae.readJson("golden.json"), this.vae.directions?.() ?? []]);
    const { images } = golden.encodings;
    this.examples = rows(bytesOf(images.base64), images.count);
    this.directions = directions;
    this.steps = this.all().filter(({ applies = true }) => applies);
  }

  /** Shows a step. */
  async go(at, focus = true) {
    const newest = this.turns.begin();
    remember((this.at = at));
    const { title, text, show } = this.steps[at];
    this.wrong.textContent = this.said.textContent = "";
    this.title.textContent = `Step ${at + 1} of ${this.steps.length}: ${title}`;
    this.dots.replaceChildren(...this.steps.map((step, index) => {
      const button = element("button", { type: "button", ariaLabel: `Step ${index + 1}: ${step.title}`, textContent: index + 1 });
      if (index === at) button.setAttribute("aria-current", "step");
      button.addEventListener("click", () => this.guarded(() => this.go(index)));
      return element("li", {}, button);
    }));
    this.back.disabled = at === 0;
    this.next.textContent = at + 1 < this.steps.length ? `Next: ${this.steps[at + 1].title}` : "Finish";
    this.text.replaceChildren(...text().map(sentence));
    this.figure.replaceChildren();
    if (focus) this.title.focus({ preventScroll: true });
    this.place.scrollIntoView({ block: "start", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
    if (!this.posterior) await this.encode(this.examples[Math.min(1, this.examples.length - 1)], newest);
    if (this.at === at && this.posterior) await show(newest);
  }

  /** Does work whose errors appear in the lesson. */
  async guarded(work) {
    try {
      await work();
    } catch (error) {
      this.wrong.textContent = String(error.message ?? error);
      if (this.figure.childElementCount) return;
      const again = element("button", { type: "button", textContent: "Try again" });
      again.addEventListener("click", () => this.open());
      this.figure.replaceChildren(again);
    }
  }

  // The picture at hand.

  /** Encodes a picture, which becomes the one that the lesson follows. */
  async encode(levels, newest = this.turns.begin()) {
    this.loading = true;
    this.said.textContent = "The encoder reads the picture …";
    try {
      const found = await newest(this.vae.encode(levels));
      if (found) this.hold({ levels, mean: found.mean, logVariance: found.logVariance }, "the lesson's picture");
    } finally {
      this.loading = false;
    }
  }

  hold(posterior, words) {
    this.posterior = posterior;
    this.said.textContent = `The encoder answered with ${this.count()}: ${natsOf(posterior).toFixed(0)} nats of information.`;
    this.page.take(Array.from(posterior.mean), words);
    this.moved(this.page.now);
  }

  /** Follows a picture of the user's own, which the page has encoded and taken. */
  follow({ levels, mean, logVariance }) {
    this.posterior = { levels, mean, logVariance };
    if (!this.body || !this.steps) return;
    this.moved(this.page.now);
    this.guarded(() => this.steps[this.at].show(this.turns.begin()));
  }

  progress({ address, bytes }) {
    const { file, bytes: total } = this.vae.manifest.graphs.encoder;
    if (!this.loading || !address.endsWith(file)) return;
    this.said.textContent = `The encoder is loading, ${(bytes / 1e6).toFixed(1)} of ${(total / 1e6).toFixed(1)} MB.`;
  }

  /** "twelve numbers", or with a larger number in digits. */
  count() {
    return this.vae.latentDim === 1 ? "one number" : `${inWords(this.vae.latentDim)} numbers`;
  }

  // The drawing: picture, numbers, picture.

  drawing() {
    const box = (tag, ...children) => element("div", { className: tag }, ...children);
    const canvas = (label) => element("canvas", { role: "img", ariaLabel: label });
    [this.input, this.output] = [canvas("The picture that goes in"), canvas("The picture that comes out")];
    const { order, kl_nats: kl } = this.vae.manifest.latent;
    this.bars = order.map((dimension) => {
      const bar = element("i", { title: `z${dimension}, ${kl[dimension].toFixed(2)} nats` }, element("b"), element("s"));
      return { dimension, bar };
    });
    this.numbers = element("div", { className: "bars", role: "img" }, ...this.bars.map(({ bar }) => bar));
    this.inputWords = element("p", { className: "quiet" });
    this.outputWords = element("p", { className: "quiet" });
    this.decode = latest(async (latent) => {
      const [levels] = await pictures(this.vae, [latent]);
      paint(this.output, levels, this.vae.imageShape);
    });
    return box("machine",
      box("end", this.input, this.inputWords),
      box("arrow", sentence("[encoder] →")),
      box("middle", this.numbers, element("p", { className: "quiet", textContent: `the latent: ${this.count()}` })),
      box("arrow", sentence("[decoder] →")),
      box("end", this.output, this.outputWords));
  }

  /** Draws the numbers that the page has now. */
  moved({ latent }) {
    if (!this.body || !latent) return;
    const clip = (value) => Math.max(-1, Math.min(1, value / SPAN)) * 50; // per cent of the height
    const { posterior } = this;
    for (const { dimension, bar } of this.bars) {
      const height = clip(latent[dimension]);
      Object.assign(bar.firstChild.style, { height: `${Math.abs(height)}%`, bottom: `${50 + Math.min(0, height)}%` });
      const spread = posterior && this.clouded ? clip(Math.exp(0.5 * posterior.logVariance[dimension]) * this.clouded) : 0;
      Object.assign(bar.lastChild.style, { height: `${2 * spread}%`, bottom: `${50 + height - spread}%` });
    }
    this.numbers.setAttribute("aria-label", `The numbers of the latent: ${this.bars.map(({ dimension }) => decimal(latent[dimension])).join(", ")}`);
    if (posterior) {
      paint(this.input, posterior.levels, this.vae.imageShape);
      const own = posterior.mean.every((value, at) => Math.abs(value - latent[at]) < 1e-3);
      this.input.classList.toggle("faded", !own);
      this.inputWords.textContent = own ? "goes in" : "other numbers";
      this.outputWords.textContent = own ? "comes out" : "these numbers";
    }
    this.decode(latent);
  }

  // Parts of the steps.

  /** A row of pictures under a title; each can be taken into the sliders if `latents` are given. */
  row(title, made, latents, words) {
    const tiles = made.map((levels, at) => {
      const canvas = element("canvas");
      paint(canvas, levels, this.vae.imageShape);
      if (!latents) return Object.assign(canvas, { role: "img", ariaLabel: `${title}, picture ${at + 1}` });
      const button = element("button", { type: "button", ariaLabel: `${title}, picture ${at + 1}: move the sliders to it` }, canvas);
      button.addEventListener("click", () => this.page.take(Array.from(latents[at]), words));
      return button;
    });
    return element("div", { className: "pictures", role: "group", ariaLabel: title }, element("p", { className: "quiet", textContent: title }), ...tiles);
  }

  /** A slider with its label; moved(value) is called while it moves. The page keeps where it comes to rest, for its undo. */
  range(label, properties, moved) {
    const input = element("input", { type: "range", ...properties });
    const output = element("output", { textContent: decimal(input.valueAsNumber) });
    input.addEventListener("input", () => {
      output.textContent = decimal(input.valueAsNumber);
      moved(input.valueAsNumber);
    });
    input.addEventListener("change", () => this.page.settle("the lesson"));
    return element("label", { className: "range" }, element("span", {}, label, " ", output), input);
  }

  button(text, work) {
    const made = element("button", { type: "button", textContent: text });
    made.addEventListener("click", () => this.guarded(work));
    return made;
  }

  /** Goes to another part of the page, which stays below the lesson. */
  link(text, target) {
    return this.button(text, async () => {
      const place = document.querySelector(target);
      place.scrollIntoView({ block: "start" });
      (place.querySelector("button, input, canvas[tabindex]") ?? place).focus({ preventScroll: true });
    });
  }

  // The steps.

  all() {
    const { graphs, detail, likelihood, files } = this.vae.manifest;
    const [channels, height, width] = this.vae.imageShape;
    const pixels = `${height * width} ${channels === 3 ? "pixels in colour" : "pixels"}`;
    const n = this.count();
    return [
      {
        title: "a picture becomes numbers",
        text: () => [
          `A picture of this model has ${pixels}. The [encoder] reads them all and answers with ${n}, which are called the ` +
            "[latent] of the picture. The bars in the drawing are those numbers; the first ones carry the most information, " +
            "measured in [nats].",
          "Choose another picture, or bring your own, and watch the bars.",
        ],
        show: () => this.showExamples(),
      },
      {
        title: "a cloud, not a point",
        text: () => [
          "The encoder does not claim to know the numbers exactly. It answers with a cloud of latents that could have made the " +
            "picture, called the [posterior]. The thin lines on the bars show how wide it is in each number, as a " +
            "[standard deviation].",
          "Each picture here is decoded from another point of that cloud. They differ a little; widen the cloud, and they " +
            "become other things.",
        ],
        show: (newest) => this.showCloud(newest),
      },
      {
        title: "numbers become a picture",
        text: () => [
          `The [decoder] sees nothing but the ${n}, and makes a picture of them. What was not in the numbers is lost: compare ` +
            "what goes in with what comes out.",
          "What comes out is the [mean picture] of all those that these numbers could stand for, which is why it looks soft. " +
            "Move the number that carries the most information. All of them have sliders below the lesson.",
        ],
        show: () => this.showNumber(),
      },
      {
        title: "pictures that nobody took",
        text: () => [
          "New pictures need no encoder. One draws a latent at random and decodes it. The [prior] says how to draw." +
            (graphs.latents ? " N(0, I) draws each number on its own, from a bell curve around 0; the fitted prior follows " +
              "the latents of the training pictures." : " This model draws each number on its own, from a bell curve around 0."),
          graphs.latents ? "Between the [likely] latents of N(0, I) there are holes, whose pictures look torn. Draw again, and count them in " +
            "both rows. A click on a picture moves the sliders to it." : "A click on a picture moves the sliders to it.",
        ],
        show: (newest) => this.showPriors(newest),
      },
      {
        title: "details are drawn, not remembered",
        applies: Boolean(detail),
        text: () => [
          `Prints, seams and soles do not fit into ${n}. A second network draws [details] that are likely for a latent, ` +
            "from random numbers of its own.",
          "All pictures here have the same latent. The first is its mean picture; the others differ in the random numbers alone. " +
            "So details are invented: they look right, but they are not those of the picture that went in.",
        ],
        show: (newest) => this.showDetails(newest),
      },
      {
        title: "directions that one can name",
        applies: this.directions.length > 0,
        text: () => [
          "No single number means “wider” or “brighter”. But along some ways through the space of latents one thing changes that " +
            "one can name, while the rest nearly stays. Such a way is a [direction]; it was found and measured after the training.",
          "Its unit is the [standard deviation] of what it changes, within the pictures of one kind. Move along one, and watch how many " +
            "bars move together.",
        ],
        show: (newest) => this.showDirection(newest),
      },
      {
        title: "a map of all latents",
        applies: !this.directions.length && Boolean(files["map.json"]),
        text: () => [
          "Pictures that look alike have latents that lie close together. The [map] shows this for test images: each point is one " +
            "of them.",
          "Click on points of the map, and watch the numbers here.",
        ],
        show: () => this.figure.replaceChildren(this.link("Go to the map", "#map")),
      },
    ];
  }

  showExamples() {
    this.clouded = 0;
    this.moved(this.page.now);
    const shown = this.row("test images, which the model has never been trained on", this.examples);
    shown.querySelectorAll("canvas").forEach((canvas, at) => {
      const button = element("button", { type: "button", ariaLabel: `Encode test image ${at + 1}` });
      canvas.replaceWith(button);
      button.append(canvas);
      button.addEventListener("click", () => this.guarded(() => this.encode(this.examples[at])));
    });
    this.figure.replaceChildren(shown, this.link("Bring a picture of your own", "#own"));
  }

  async showCloud(newest) {
    const { mean, logVariance } = this.posterior;
    this.page.take(Array.from(mean), "the middle of the cloud");
    const noise = () => Array.from({ length: CLOUD }, () => Array.from(mean, normal));
    const place = element("div");
    let [points, times] = [noise(), 1];
    const draw = latest(async () => {
      const latents = points.map((point) => Array.from(mean, (m, at) => m + times * Math.exp(0.5 * logVariance[at]) * point[at]));
      const made = await newest(pictures(this.vae, latents));
      if (!made) return;
      place.replaceChildren(this.row(`decodings of ${inWords(CLOUD)} points of the cloud`, made, latents, "a point of the cloud"));
      this.clouded = times;
      this.moved(this.page.now);
    });
    const wider = this.range("Width of the cloud, times", { min: 0, max: 5, step: 0.5, value: 1 }, (value) => {
      times = value;
      this.guarded(draw);
    });
    const again = this.button("Draw other points", () => {
      points = noise();
      return draw();
    });
    this.figure.replaceChildren(place, wider, again);
    await draw();
  }

  showNumber() {
    const mean = this.takeMean();
    const first = this.vae.manifest.latent.order[0];
    const range = this.range(`z${first}, the number with the most nats`, { min: -SPAN, max: SPAN, step: 0.1, value: mean[first] },
      (value) => this.page.glide(mean.with(first, value), `the lesson's picture with another z${first}`));
    const back = this.button("Back to the picture's own numbers", () => {
      range.querySelector("input").value = mean[first];
      range.querySelector("output").textContent = decimal(mean[first]);
      this.page.take(mean, "the latent of the lesson's picture");
    });
    this.figure.replaceChildren(range, back);
  }

  /** Moves the page to the middle of the picture's cloud, which is no longer shown, and returns that latent. */
  takeMean() {
    this.clouded = 0;
    const mean = Array.from(this.posterior.mean);
    this.page.take(mean, "the latent of the lesson's picture");
    this.moved(this.page.now);
    return mean;
  }

  async showPriors(newest) {
    this.clouded = 0;
    this.moved(this.page.now);
    const place = element("div");
    const priors = this.vae.manifest.graphs.latents ? ["fitted", "normal"] : ["normal"];
    const draw = async () => {
      const drawn = await newest(Promise.all(priors.map((prior) => this.vae.draw(CLOUD, { prior }))));
      const made = drawn && await newest(Promise.all(drawn.map(({ latents }) => pictures(this.vae, rows(latents, CLOUD)))));
      if (!made) return;
      place.replaceChildren(...priors.map((prior, at) => this.row(prior === "fitted" ? "from the fitted prior" : "from N(0, I)",
        made[at], rows(drawn[at].latents, CLOUD), `a latent from ${prior === "fitted" ? "the fitted prior" : "N(0, I)"}`)));
    };
    this.figure.replaceChildren(place, this.button("Draw again", draw));
    await draw();
  }

  async showDetails(newest) {
    const mean = this.takeMean();
    const place = element("div");
    const draw = async () => {
      const noise = Array.from({ length: (CLOUD - 1) * this.vae.manifest.detail.noise }, normal);
      const plain = await newest(pictures(this.vae, [mean]));
      const detailed = plain && await newest(pictures(this.vae, Array(CLOUD - 1).fill(mean), Float32Array.from(noise)));
      if (detailed) place.replaceChildren(this.row("the mean picture, and with details", [...plain, ...detailed]));
    };
    this.figure.replaceChildren(place, this.button("Draw other details", draw));
    await draw();
  }

  async showDirection(newest) {
    const mean = this.takeMean();
    const positions = await newest(this.vae.attributes(mean)); // of the directions that the picture's class has
    if (!positions) return;
    const names = Object.keys(positions);
    if (!names.length) {
      this.figure.replaceChildren(element("p", { textContent: "Pictures of this kind have no direction; choose another picture in step 1." }));
      return;
    }
    const select = element("select", { ariaLabel: "The direction" }, ...names.map((name) => new Option(name)));
    select.value = names.find((name) => name.includes(" ")) ?? names[0]; // such as "sleeve length", which is of the class alone
    const along = latest(async () => {
      const latent = await newest(this.vae.move(mean, select.value, input.valueAsNumber));
      if (!latent) return;
      this.page.glide(Array.from(latent), `the lesson's picture with another ${select.value}`);
      this.page.settle("the lesson");
    });
    const range = this.range("standard deviations from the average of its class:", { min: -2, max: 2, step: 0.1 }, () => this.guarded(along));
    const [input, output] = ["input", "output"].map((name) => range.querySelector(name));
    const begin = () => {
      input.value = positions[select.value];
      output.textContent = decimal(input.valueAsNumber);
      this.page.take(mean, "the latent of the lesson's picture");
    };
    const strip = element("div");
    const draw = async () => {
      const { value: name } = select;
      const latents = await newest(Promise.all(ALONG.map((position) => this.vae.move(mean, name, position))));
      const made = latents && await newest(pictures(this.vae, latents));
      if (made) strip.replaceChildren(this.row(`${name}, from −1.5 to 1.5`, made, latents, `the lesson's picture with another ${name}`));
    };
    select.addEventListener("change", () => {
      begin();
      this.guarded(draw);
    });
    begin();
    this.figure.replaceChildren(select, strip, range);
    await draw();
  }
}
