// One thing on the page can move by itself at a time, there and back, until a user touches anything.

const PERIOD = 6; // seconds for a way there and back
const STILL = 900; // milliseconds for each step, for those who ask for reduced motion
const STEPS = [-1, -2 / 3, -1 / 3, 0, 1 / 3, 2 / 3, 1, 2 / 3, 1 / 3, 0, -1 / 3, -2 / 3];

let playing = null;

/**
 * Begins a motion, and stops the one before: move(x) is called for each frame with x from −1 to 1, which begins at `from`, and
 * settle() when it ends. The button, which begins and ends it, shows which of them it would do.
 */
export function play({ button, from, move, settle }) {
  stopPlaying();
  const motion = { button, settle };
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) {
    let step = Math.round(3 * (Math.max(-1, Math.min(1, from)) + 1));
    motion.timer = setInterval(() => move(STEPS[(step += 1) % STEPS.length]), STILL);
  } else {
    const began = performance.now();
    const first = Math.asin(Math.max(-1, Math.min(1, from)));
    const frame = (now) => {
      motion.frame = requestAnimationFrame(frame);
      move(Math.sin(first + (2 * Math.PI * Math.max(0, now - began)) / (1000 * PERIOD)));
    };
    motion.frame = requestAnimationFrame(frame);
  }
  playing = motion;
  show(button, true);
}

/** Stops the motion, and leaves it where it is. */
export function stopPlaying() {
  if (!playing) return;
  const { button, settle, frame, timer } = playing;
  playing = null;
  cancelAnimationFrame(frame);
  clearInterval(timer);
  show(button, false);
  settle();
}

/** Whether something moves by itself. */
export function isPlaying() {
  return playing !== null;
}

/** Makes a button begin the motion that motion() describes, or end it. */
export function playButton(button, motion) {
  show(button, false);
  button.addEventListener("click", () => (playing?.button === button ? stopPlaying() : play({ button, ...motion() })));
}

function show(button, plays) {
  button.textContent = plays ? "❚❚" : "▶";
  button.setAttribute("aria-pressed", String(plays));
}

// The button that has begun a motion ends it itself; Tab is how a keyboard reaches it.
for (const kind of ["pointerdown", "keydown", "wheel"]) {
  addEventListener(kind, (event) => {
    if (playing && event.target !== playing.button && !["Tab", "Shift"].includes(event.key)) stopPlaying();
  }, { capture: true, passive: true });
}
