// Undo and redo, and the browser's Back and Forward. A choice, such as a roll of the dice, is a step of both; a movement of a
// slider is a step of undo alone, because a browser's list of visited addresses would be full of them.

const OFTEN = 300; // milliseconds between two writings of the same entry, because browsers ignore what comes more often
const SAME = 1000; // milliseconds; movements of one slider that follow each other faster are one step

export class History {
  /** restore(snapshot) shows a snapshot of the page again, visit() what the address describes, and heard() follows each change. */
  constructor(restore, visit, heard) {
    Object.assign(this, { restore, visit, heard, steps: [], at: -1, travelling: null, wrote: -Infinity, arriving: false });
    this.entry = history.state?.entry ?? 0; // an earlier load of this page may have left entries
    addEventListener("popstate", () => this.arrived());
    addEventListener("keydown", (event) => {
      if (event.defaultPrevented || !(event.ctrlKey || event.metaKey) || event.altKey || event.target.matches?.("input:not([type='range'], [type='checkbox']), textarea")) return;
      const key = event.key.toLowerCase();
      if (key !== "z" && key !== "y") return;
      event.preventDefault();
      if (key === "y" || event.shiftKey) this.redo();
      else this.undo();
    });
  }

  get canUndo() {
    return this.at > 0;
  }

  get canRedo() {
    return this.at < this.steps.length - 1;
  }

  /** Keeps a snapshot after a choice, and gives it an entry in the browser's history. */
  choose(snapshot, hash) {
    const there = this.at < 0 || this.arriving; // the browser has the entry already
    this.arriving = false;
    this.add({ snapshot, hash, entry: there ? this.entry : null });
  }

  /** Keeps a snapshot after a movement of a slider, in the browser's current entry. */
  slide(snapshot, hash, slider) {
    const moved = performance.now();
    const last = this.steps[this.at] ?? { entry: this.entry };
    if (last.slider === slider && !this.canRedo && moved - last.moved < SAME) this.at -= 1; // the same movement goes on
    this.add({ snapshot, hash, entry: last.entry, slider, moved });
  }

  undo() {
    if (this.canUndo) this.go(this.at - 1);
  }

  redo() {
    if (this.canRedo) this.go(this.at + 1);
  }

  add(step) {
    this.steps.splice(this.at + 1, Infinity, step);
    this.at = this.steps.length - 1;
    this.follow();
    this.heard();
  }

  go(at) {
    this.at = at;
    this.restore(this.steps[at].snapshot);
    this.follow();
    this.heard();
  }

  /** Brings the browser to the entry of the current step. It travels asynchronously, one journey at a time. */
  follow() {
    if (this.travelling) return;
    const step = this.steps[this.at];
    const isNew = step.entry === null;
    if (isNew) {
      this.entry += 1;
      for (const one of this.steps) one.entry ??= this.entry;
    }
    clearTimeout(this.writing);
    if (step.entry === this.entry) {
      const wait = isNew ? 0 : this.wrote + OFTEN - performance.now();
      if (wait > 0) this.writing = setTimeout(() => this.follow(), wait);
      else this.write(isNew ? "pushState" : "replaceState", step.hash);
      return;
    }
    this.travelling = setTimeout(() => this.landed(step.entry), 1000); // a browser may have dropped the entry
    history.go(step.entry - this.entry);
  }

  write(how, hash) {
    history[how]({ entry: this.entry }, "", hash);
    this.wrote = performance.now();
  }

  landed(entry) {
    clearTimeout(this.travelling);
    this.travelling = null;
    this.entry = entry;
    this.follow();
  }

  /** After Back or Forward, or a new address by hand. */
  arrived() {
    clearTimeout(this.writing);
    const entry = history.state?.entry; // an address by hand has none
    if (this.travelling) {
      this.landed(entry ?? this.steps[this.at].entry);
      return;
    }
    this.entry = entry ?? this.entry + 1;
    const at = this.steps.findLastIndex(({ entry, hash }) => entry === this.entry && hash === location.hash);
    if (at < 0) {
      this.arriving = true;
      this.visit(); // becomes a step of its own when it is drawn
    } else if (at !== this.at) {
      this.go(at);
    }
  }
}
