// Turns fingers, mouse, wheel and keys into moves of a Look. Knows no video and no WebGL.

import { settings } from "./config";
import { degreesPerPixel, type Look } from "./look";

interface Finger {
  x: number;
  y: number;
  at: number;
}

/** A press that moved less than this and was shorter than TAP_MS is a tap, px. */
const TAP_PX = 8;
const TAP_MS = 300;

export interface GestureEvents {
  /** The view was moved by hand. */
  moved(): void;
  /** A touch that was no drag. */
  tapped(): void;
}

export class Gestures {
  #fingers = new Map<number, Finger>();
  #spread = 0;
  #press = { x: 0, y: 0, at: 0, tap: false };
  /** False while the picture is flat and there is nothing to look around in. */
  enabled = true;

  constructor(
    private readonly stage: HTMLElement,
    private readonly look: Look,
    private readonly events: GestureEvents,
  ) {
    stage.addEventListener("pointerdown", event => this.#down(event));
    stage.addEventListener("pointermove", event => this.#move(event));
    for (const end of ["pointerup", "pointercancel"] as const) {
      stage.addEventListener(end, event => this.#up(event));
    }
    stage.addEventListener("wheel", event => this.#wheel(event), { passive: false });
    stage.addEventListener("dblclick", () => this.#act(() => look.reset()));
    // On the whole page, so that arrows work before anything has the focus; a slider's and a menu's arrows are their own.
    document.addEventListener("keydown", event => {
      if (!(event.target instanceof HTMLInputElement)) this.#key(event);
    });
    // Safari on a Mac zooms the whole page on a trackpad's pinch unless told not to.
    stage.addEventListener("gesturestart", event => event.preventDefault());
  }

  #down(event: PointerEvent): void {
    if (event.pointerType === "mouse" && event.button !== 0) return;
    const { clientX: x, clientY: y, timeStamp: at } = event;
    this.stage.setPointerCapture(event.pointerId);
    this.#fingers.set(event.pointerId, { x, y, at });
    this.#press = { x, y, at, tap: this.#fingers.size === 1 && event.pointerType !== "mouse" };
    this.#spread = this.#distance();
    if (this.enabled) this.look.hold();
    this.stage.classList.add("held");
  }

  #move(event: PointerEvent): void {
    const finger = this.#fingers.get(event.pointerId);
    if (!finger) return;
    const { clientX: x, clientY: y, timeStamp: at } = event;
    const [dx, dy, ms] = [x - finger.x, y - finger.y, at - finger.at];
    this.#fingers.set(event.pointerId, { x, y, at });
    if (Math.hypot(x - this.#press.x, y - this.#press.y) > TAP_PX) this.#press.tap = false;
    if (!this.enabled) return;
    if (this.#fingers.size >= 2) {
      const spread = this.#distance();
      if (spread > 0 && this.#spread > 0) this.look.zoom(this.#spread / spread);
      this.#spread = spread;
    }
    // With two fingers the middle of them turns the view: each one's part of the way.
    const share = this.#degreesPerPixel() / this.#fingers.size;
    this.look.turn(-dx * share, dy * share, ms);
    this.events.moved();
  }

  #up(event: PointerEvent): void {
    const finger = this.#fingers.get(event.pointerId);
    if (!finger) return;
    this.#fingers.delete(event.pointerId);
    this.#spread = this.#distance();
    if (this.#fingers.size > 0) return;
    this.stage.classList.remove("held");
    this.look.release(event.timeStamp - finger.at);
    const { tap, at } = this.#press;
    if (event.type === "pointerup" && tap && event.timeStamp - at < TAP_MS) this.events.tapped();
  }

  #wheel(event: WheelEvent): void {
    if (!this.enabled) return;
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
    const step = Math.max(-120, Math.min(120, event.deltaY * lines));
    // A trackpad's pinch comes as a wheel with Ctrl and far smaller steps.
    this.#act(() => this.look.zoom(Math.exp(step * (event.ctrlKey ? 0.01 : 0.0015))));
  }

  #key(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    // Arrows with Shift move in time, not in space. "+" needs it on many keyboards.
    if (event.shiftKey && event.key.startsWith("Arrow")) return;
    const step = (settings.keyStepDeg * this.look.fov) / settings.fov.start;
    const moves: Record<string, () => void> = {
      ArrowLeft: () => this.look.turn(-step, 0),
      ArrowRight: () => this.look.turn(step, 0),
      ArrowUp: () => this.look.turn(0, step),
      ArrowDown: () => this.look.turn(0, -step),
      "+": () => this.look.zoom(0.9),
      "=": () => this.look.zoom(0.9),
      "-": () => this.look.zoom(1 / 0.9),
      "0": () => this.look.reset(),
      Home: () => this.look.reset(),
    };
    const move = moves[event.key];
    if (!move || !this.enabled) return;
    event.preventDefault();
    this.#act(move);
  }

  #act(move: () => void): void {
    if (!this.enabled) return;
    move();
    this.events.moved();
  }

  #degreesPerPixel(): number {
    return degreesPerPixel(this.look.fov, Math.max(this.stage.clientWidth, this.stage.clientHeight));
  }

  #distance(): number {
    const [a, b] = [...this.#fingers.values()];
    return a && b ? Math.hypot(a.x - b.x, a.y - b.y) : 0;
  }
}
