// Looking around by moving oneself: a phone in the hand, a headset on the head. Whether each is there, on, or why not. Knows
// the two of them and the stage, no buttons.

import type { Toggle } from "./controls";
import { Motion, motionSupport } from "./orientation";
import type { Stage } from "./stage";
import { Headset, headsetSupport } from "./xr";

export class Immersion {
  readonly #motion: Motion;
  readonly #headset: Headset;
  #motionRefused: string | null = null;
  #headsetIs: Toggle = { is: "absent" };

  /**
   * @param changed something is on, off or refused now
   * @param say tells the viewer what went wrong
   */
  constructor(
    private readonly stage: Stage,
    private readonly changed: () => void,
    private readonly say: (words: string) => void,
  ) {
    this.#motion = new Motion(rotation => stage.look.setDevice(rotation));
    this.#headset = new Headset(session => stage.present(session), changed);
    void this.#findHeadset();
  }

  get motion(): Toggle {
    if (this.#motion.on) return { is: "on" };
    if (this.#motionRefused !== null) return { is: "refused", why: this.#motionRefused };
    const support = this.stage.flatness === "sphere" ? motionSupport() : "none";
    if (support === "insecure") {
      return { is: "refused", why: "Looking around by moving the phone needs a page opened with https://" };
    }
    return { is: support === "available" ? "off" : "absent" };
  }

  get headset(): Toggle {
    return this.#headset.on ? { is: "on" } : this.#headsetIs;
  }

  /** Must be called from a tap. */
  async toggleMotion(): Promise<void> {
    if (this.#motion.on) {
      this.#motion.stop();
    } else {
      const result = await this.#motion.start();
      if (result === "denied") {
        this.#motionRefused =
          "The browser was not allowed to read the phone's motion. Its settings for this page can change that.";
      }
      if (result === "silent") this.#motionRefused = "This device reports no motion.";
      if (this.#motionRefused !== null) this.say(this.#motionRefused);
    }
    this.changed();
  }

  /** Must be called from a click. */
  async toggleHeadset(): Promise<void> {
    try {
      if (this.#headset.on) await this.#headset.leave();
      else await this.#headset.enter();
    } catch (error) {
      this.say(`The headset could not be started: ${error instanceof Error ? error.message : "unknown"}`);
    }
  }

  async #findHeadset(): Promise<void> {
    const support = await headsetSupport();
    if (support === "available" && this.stage.flatness !== "no webgl") this.#headsetIs = { is: "off" };
    if (support === "insecure") {
      this.#headsetIs = { is: "refused", why: "The headset needs a page opened with https://" };
    }
    this.changed();
  }
}
