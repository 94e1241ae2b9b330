// A phone's own orientation as a way to look around: whether it may be asked, the asking, and the sums from its three angles.
// Knows nothing of what is looked at.

import { aboutX, aboutY, aboutZ, multiply, type Quaternion } from "./look";

/** Whether there is something to switch on, and if not, why. */
export type MotionSupport = "none" | "insecure" | "available";

export type MotionResult = "on" | "denied" | "silent";

/** Safari's gate, which only a tap may open. */
interface Gated {
  requestPermission?: () => Promise<"granted" | "denied">;
}

/** No reading within this time: a device without sensors, ms. */
const SILENCE_MS = 1_500;

/** A desktop browser has the event but no sensor, so only what is used with a finger is offered it. */
export function motionSupport(): MotionSupport {
  if (!matchMedia("(any-pointer: coarse)").matches) return "none";
  if (!isSecureContext) return "insecure";
  return "DeviceOrientationEvent" in window ? "available" : "none";
}

/**
 * The rotation that a device held like this looks with, whatever way up its screen is; the angles are the event's, degrees.
 * Upright in the hand (beta 90) is level.
 */
export function deviceRotation(alpha: number, beta: number, gamma: number, screen: number): Quaternion {
  const held = multiply(multiply(aboutY(alpha), aboutX(beta)), aboutZ(-gamma));
  return multiply(multiply(held, aboutX(-90)), aboutZ(-screen));
}

export class Motion {
  #listening: AbortController | null = null;

  constructor(private readonly reading: (rotation: Quaternion | null) => void) {}

  get on(): boolean {
    return this.#listening !== null;
  }

  /** Must be called from a tap. Listens only after the leave was given: a listener from before stays deaf in Safari. */
  async start(): Promise<MotionResult> {
    const gate = (window.DeviceOrientationEvent as unknown as Gated | undefined)?.requestPermission;
    if (gate) {
      const leave = await gate.call(window.DeviceOrientationEvent).catch(() => "denied" as const);
      if (leave !== "granted") return "denied";
    }
    this.stop();
    const listening = new AbortController();
    this.#listening = listening;
    return new Promise(resolve => {
      const silence = setTimeout(() => {
        this.stop();
        resolve("silent");
      }, SILENCE_MS);
      const heard = ({ alpha, beta, gamma }: DeviceOrientationEvent) => {
        if (alpha === null || beta === null || gamma === null) return;
        clearTimeout(silence);
        resolve("on");
        this.reading(deviceRotation(alpha, beta, gamma, screen.orientation?.angle ?? 0));
      };
      addEventListener("deviceorientation", heard, { signal: listening.signal });
    });
  }

  stop(): void {
    if (!this.#listening) return;
    this.#listening.abort();
    this.#listening = null;
    this.reading(null);
  }
}
