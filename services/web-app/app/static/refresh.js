/** Loads the lists anew after a digest, which tells of them in numbers only. */

export const FIRST = 500;
/** Over so many milliseconds all open pages spread themselves: a digest reaches them in the same moment. */
export const SPREAD = 2500;
export const RETRY = 10_000;

/** Asked many times it loads once, soon; in a hidden tab when it is looked at again. */
export class Refresher {
  #load;
  #hidden;
  #random;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;
  #wanted = false;

  /**
   * @param {() => Promise<unknown>} load
   * @param {() => boolean} hidden
   * @param {() => number} random
   */
  constructor(load, hidden = () => document.hidden, random = Math.random) {
    this.#load = load;
    this.#hidden = hidden;
    this.#random = random;
  }

  ask() {
    this.#wanted = true;
    this.#in(FIRST + this.#random() * SPREAD);
  }

  /** The tab is looked at again. */
  wake() {
    if (this.#wanted) this.#in(0);
  }

  /** @param {number} delay milliseconds */
  #in(delay) {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      if (!this.#hidden()) void this.#run();
    }, delay);
  }

  async #run() {
    this.#wanted = false;
    try {
      await this.#load();
    } catch {
      // The connection's state tells of it already.
      this.#wanted = true;
      this.#in(RETRY);
    }
  }
}
