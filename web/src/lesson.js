// The guided lesson, in the section #lesson.

export class Lesson {
  /**
   * The lesson follows and moves the page by: page.vae, the model; page.now, which is { latent, levels, state, words };
   * page.watch(heard), which calls heard(now) for each new picture; page.take(latent, words), which moves the sliders to a
   * latent; page.sample(), which draws what the form says; page.own, for the user's own pictures. The section is the first
   * one of the page: on a phone, the picture and a slider must stay on the first screen while the lesson is closed.
   */
  constructor(page) {
    this.page = page;
  }
}
