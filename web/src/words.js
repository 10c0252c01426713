// The words of the page, each with its sentence: the sentence opens below the text when a user taps the word.

import { element } from "./draw.js";

/** What each word means, for someone who has never heard it. */
export const WORDS = {
  latent: "The latent is the short list of numbers that the model keeps of a picture; the decoder makes the picture from it alone.",
  encoder: "The encoder is the half of the model that reads a picture and predicts which latents could have made it.",
  decoder: "The decoder is the half of the model that makes a picture from a latent.",
  prior: "The prior says which latents are likely before a picture is seen. The fitted prior follows the training pictures; N(0, I) " +
    "draws each number from the same bell curve around 0, without regard to what pictures need.",
  posterior: "The posterior is the cloud of latents that could have made one picture. The encoder predicts its middle and its width in " +
    "each number.",
  temperature: "The temperature is how far a drawn latent may lie from the prior's middle: 0 always draws the most typical one, 1 draws " +
    "as the prior does, and 2 twice as far.",
  details: "Details are what the latent does not contain, such as prints and seams. A second network draws likely ones, from random " +
    "numbers of its own.",
  "mean picture": "The mean picture is the average of all pictures that a latent could stand for, which is why it looks soft.",
  nats: "A nat is a unit of information, 1.44 bits. A number with 2 nats tells about as much as a choice between seven answers.",
  seed: "The seed names an endless sequence of pictures, and the index a place in it. The two always make the same picture.",
  class: "A class is a kind of picture that the model was told about while it was trained, such as a bag.",
  direction: "A direction is a way through the space of latents that changes one thing that one can see, and leaves the rest as it is as " +
    "well as it can.",
  "standard deviation": "The standard deviation is the usual distance from the average. On a scale in standard deviations, two thirds of all " +
    "pictures lie between −1 and 1, and nearly all between −2.5 and 2.5.",
  map: "The map lays all latents on a plane, so that pictures with similar latents lie close together. Distances are right nearby only.",
  likely: "A latent is likely if the prior often draws latents near it. Unlikely latents make pictures that look torn or like nothing.",
};

let made = 0;

/** A button that shows and hides the sentence of a word; its text may be another form of the word. */
export function word(name, text = name) {
  const button = element("button", { type: "button", className: "word", textContent: text });
  button.dataset.word = name;
  button.setAttribute("aria-expanded", "false");
  return button;
}

/** Makes all word buttons of the page work, those that are added later too. */
export function listen() {
  document.querySelectorAll("button.word").forEach((button) => button.setAttribute("aria-expanded", "false"));
  addEventListener("click", ({ target }) => {
    const button = target.closest?.("button.word");
    if (button) toggle(button);
  });
}

function toggle(button) {
  const block = button.closest("p, summary, label, figcaption, h2, h3, li, .words") ?? button.parentElement;
  const open = block.nextElementSibling?.matches(".meaning") ? block.nextElementSibling : null;
  const same = open?.dataset.word === button.dataset.word;
  open?.remove();
  block.querySelectorAll("button.word").forEach((one) => one.setAttribute("aria-expanded", "false"));
  if (same) return;
  const meaning = element("p", { className: "meaning", id: `meaning-${(made += 1)}`, textContent: WORDS[button.dataset.word] });
  meaning.dataset.word = button.dataset.word;
  meaning.setAttribute("role", "status");
  block.after(meaning);
  button.setAttribute("aria-expanded", "true");
  button.setAttribute("aria-controls", meaning.id);
}
