// Errors appear beside the control that was used, and go with its next success. Those of loading stay at the top of the page.

import { element } from "./draw.js";

const CONTROLS = "button, input, select, [tabindex], .drawable, #pad";
const PLACES = ".slider, .slot, .row, .fields > label, .ends, .sum, .map, .own, section"; // an error stands below the smallest of them

export class Errors {
  constructor(root) {
    this.root = root;
    this.hand = null; // the control that was used last
    for (const kind of ["pointerdown", "keydown", "input", "change", "focusin"]) {
      root.addEventListener(kind, ({ target }) => (this.hand = target.closest?.(CONTROLS) ?? this.hand), true);
    }
  }

  /** Makes a function whose errors appear beside a control, or beside the one that was used last. */
  guard(work, control = null) {
    return this.shown(work, control, true);
  }

  /** Makes such a function of work that follows what a user does: its success says nothing about other work's errors. */
  follow(work) {
    return this.shown(work, null, false);
  }

  shown(work, control, isHand) {
    return async (...values) => {
      const place = this.place(typeof control === "function" ? control(this.hand) : control ?? this.hand);
      try {
        await work(...values);
        this.clear(work, isHand ? place : null);
      } catch (error) {
        this.show(String(error.message ?? error), place, work);
      }
    };
  }

  place(control) {
    return (control?.isConnected && control.closest(PLACES)) || this.root.querySelector("#stage");
  }

  /** Shows an error below a place, until the same work succeeds there, or the user closes it. */
  show(message, place, work) {
    this.clear(work, place);
    const close = element("button", { type: "button", textContent: "×", ariaLabel: "Close this message" });
    const text = element("span", { textContent: message });
    const shown = element("div", { className: "error" }, text, close);
    text.setAttribute("role", "alert");
    Object.assign(shown, { work });
    close.addEventListener("click", () => shown.remove());
    if (place.matches("section")) place.append(shown);
    else place.after(shown);
    shown.scrollIntoView({ block: "nearest" });
  }

  /** Removes the errors of work, and all that stand at a place. */
  clear(work, place = null) {
    for (const shown of this.root.querySelectorAll(".error")) {
      if (shown.work === work || (place && shown.previousElementSibling === place)) shown.remove();
    }
  }
}
