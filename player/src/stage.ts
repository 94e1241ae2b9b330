// The place where the picture is: the <video>, the canvas over it, and the looking around. Shows the plain video instead of
// the sphere when there is no WebGL, when the graphics card was lost, and for flat pictures. Knows no HLS and no buttons.

import { settings } from "./config";
import { el, setText } from "./dom";
import { Gestures } from "./gestures";
import { describe, Look, type View, verticalFov } from "./look";
import type { Layout } from "./projection";
import { type PixelGrid, type Pose, Sphere } from "./sphere";

/** Why there is no sphere. */
export type Flatness = "sphere" | "flat picture" | "no webgl" | "context lost";

export interface StageEvents {
  /** A touch that was no drag. */
  tapped(): void;
  /** The sphere went or came back. */
  flatness(why: Flatness): void;
  /** The heading or the field of view changed. */
  turned(yaw: number, horizontalFov: number): void;
}

/** Words about the heading come this long after the last move, so that a held key isn't a stream of talk, ms. */
const SAY_AFTER_MS = 600;

export class Stage {
  readonly element: HTMLElement;
  readonly video: HTMLVideoElement;
  readonly look: Look;
  readonly #canvas = el("canvas", { "aria-hidden": "true" });
  readonly #heading = el("p", { class: "unseen", "aria-live": "polite" });
  readonly #gestures: Gestures;
  #sphere: Sphere | null = null;
  #lost = false;
  #laidOut = false;
  #layout: Layout = { projection: "equirect", stereo: "mono" };
  #last = { now: 0, turned: "" };
  #sayTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    home: Partial<View>,
    private readonly events: StageEvents,
  ) {
    this.look = new Look(home);
    // Muted and inline in the markup: set later, Safari has already decided.
    this.video = el("video", {
      crossorigin: "anonymous",
      playsinline: true,
      muted: true,
      autoplay: true,
      tabindex: "-1",
    });
    this.video.muted = true;
    this.element = el(
      "div",
      {
        class: "stage",
        tabindex: "0",
        role: "application",
        "aria-roledescription": "360° picture",
        "aria-label":
          "Drag or use the arrow keys to look around, plus and minus to zoom, 0 to look to the front",
      },
      this.video,
      this.#canvas,
      this.#heading,
    );
    const motion = matchMedia("(prefers-reduced-motion: reduce)");
    this.look.reducedMotion = motion.matches;
    motion.addEventListener("change", () => {
      this.look.reducedMotion = motion.matches;
    });
    this.#gestures = new Gestures(this.element, this.look, {
      tapped: () => events.tapped(),
      moved: () => this.#saySoon(),
    });
    try {
      this.#sphere = new Sphere(
        this.#canvas,
        this.video,
        now => this.#pose(now),
        lost => {
          this.#lost = lost;
          this.#show();
        },
      );
    } catch {
      this.#sphere = null;
    }
    new ResizeObserver(() => this.resize()).observe(this.element);
  }

  get layout(): Layout {
    return this.#layout;
  }

  get flatness(): Flatness {
    if (!this.#sphere) return "no webgl";
    if (this.#lost) return "context lost";
    return this.#layout.projection === "flat" ? "flat picture" : "sphere";
  }

  /** Does nothing when that is how the picture is already taken to lie. */
  setLayout(layout: Layout): void {
    const same = layout.projection === this.#layout.projection && layout.stereo === this.#layout.stereo;
    if (same && this.#laidOut) return;
    this.#laidOut = true;
    this.#layout = { ...layout };
    this.#sphere?.setLayout(layout);
    this.#show();
  }

  /** The first time after it is on the page, and whenever the device's pixels change. */
  resize(): void {
    const ratio = Math.min(devicePixelRatio, settings.maxPixelRatio);
    this.#sphere?.resize(this.element.clientWidth, this.element.clientHeight, ratio);
  }

  present(session: XRSession): Promise<void> {
    return this.#sphere?.present(session) ?? Promise.reject(new Error("no WebGL"));
  }

  readPixels(columns?: number, rows?: number): PixelGrid | null {
    return this.#lost ? null : (this.#sphere?.readPixels(columns, rows) ?? null);
  }

  #show(): void {
    const why = this.flatness;
    this.element.classList.toggle("flat", why !== "sphere");
    this.#gestures.enabled = why === "sphere";
    this.resize();
    this.events.flatness(why);
  }

  #pose(now: number): Pose {
    this.look.step(now - this.#last.now);
    this.#last.now = now;
    const { yaw } = this.look.heading();
    const { fov } = this.look;
    const key = `${yaw.toFixed(1)} ${fov.toFixed(1)} ${this.element.clientWidth} ${this.element.clientHeight}`;
    if (key !== this.#last.turned) {
      this.#last.turned = key;
      const aspect = this.element.clientWidth / Math.max(1, this.element.clientHeight);
      // Across the screen: the field itself when it is wide, the other side's when it is tall.
      this.events.turned(yaw, aspect >= 1 ? fov : verticalFov(fov, 1 / aspect));
    }
    return { rotation: this.look.rotation(), fov, heading: this.look.yaw };
  }

  #saySoon(): void {
    clearTimeout(this.#sayTimer);
    this.#sayTimer = setTimeout(() => {
      const { yaw, pitch } = this.look.heading();
      setText(this.#heading, describe(yaw, pitch));
    }, SAY_AFTER_MS);
  }
}
