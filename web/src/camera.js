// The camera: a preview with a button that takes the picture. Where a page may not use the camera itself (http: in a local
// network), a phone's own camera takes the picture through a file field.

import { check } from "../../examples/vae.mjs";

const find = (name) => document.querySelector(`#${name}`);

/** The reason why there is no camera, in one sentence, by the name of the browser's error. */
const REASONS = {
  NotAllowedError: "permission to use the camera, got a refusal; allow it for this page in the browser, or choose a file",
  NotFoundError: "a camera, found none; choose a file, or draw",
  NotReadableError: "a free camera, got one that another program uses; close that program, or choose a file",
};

export class Camera {
  /** taken(canvas) is called with each picture; guarded(work) makes a function that shows the errors of work. */
  constructor(taken, guarded) {
    this.video = find("viewfinder").querySelector("video");
    this.stream = null;
    find("camera").addEventListener("click", guarded(() => (navigator.mediaDevices ? this.open() : find("snap").click())));
    find("shoot").addEventListener("click", guarded(async () => {
      const canvas = this.picture();
      this.close();
      await taken(canvas);
    }));
    find("camera-close").addEventListener("click", () => this.close());
    document.addEventListener("visibilitychange", () => document.hidden && this.close(false)); // no camera without a view of it
  }

  async open() {
    if (this.stream) return;
    const wanted = { video: { facingMode: "environment", width: { ideal: 640 } } };
    const stream = await navigator.mediaDevices.getUserMedia(wanted).catch(({ name, message }) =>
      check(false, REASONS[name] ?? `a camera, got: ${message || name}; choose a file`));
    this.stream = stream;
    this.video.srcObject = stream;
    find("viewfinder").hidden = false;
    await this.video.play();
    find("shoot").focus();
  }

  /** The square in the middle of what the camera sees, as the preview shows it. */
  picture() {
    const { videoWidth: width, videoHeight: height } = this.video;
    check(width && height, "a picture of the camera, got none yet; wait until it is seen");
    const side = Math.min(width, height);
    const canvas = Object.assign(document.createElement("canvas"), { width: side, height: side });
    canvas.getContext("2d").drawImage(this.video, (width - side) / 2, (height - side) / 2, side, side, 0, 0, side, side);
    return canvas;
  }

  close(focus = true) {
    if (!this.stream) return;
    this.stream.getTracks().forEach((track) => track.stop());
    this.stream = this.video.srcObject = null;
    find("viewfinder").hidden = true;
    if (focus) find("camera").focus();
  }
}
