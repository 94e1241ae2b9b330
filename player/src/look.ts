// Where the viewer looks: yaw, pitch, field of view, and the coasting after a drag. Pure: knows no DOM, no clock and no WebGL;
// gestures.ts feeds it, sphere.ts draws by it.

import { settings } from "./config";

/** Degrees: yaw −180…180, to the right; pitch −90…90, up; fov across the longer side of the view. */
export interface View {
  yaw: number;
  pitch: number;
  fov: number;
}

/** A rotation, x y z w, from the eye's directions to the world's. */
export type Quaternion = readonly [number, number, number, number];

/** Coasting falls to a third in this time, ms. */
const COAST_MS = 325;
/** Slower than this is standing still, degrees per second. */
const STILL_DEG_S = 1.5;
/** A hand cannot fling faster, degrees per second. */
const FLING_DEG_S = 720;

export class Look {
  #view: View;
  #home: View;
  #device: Quaternion | null = null;
  #speed = { yaw: 0, pitch: 0 };
  #held = false;
  /** Coasting off for viewers who asked for less motion. */
  reducedMotion = false;

  constructor(home: Partial<View> = {}) {
    this.#home = {
      yaw: home.yaw ?? 0,
      pitch: home.pitch ?? 0,
      fov: clampFov(home.fov ?? settings.fov.start),
    };
    this.#view = { ...this.#home };
  }

  get yaw(): number {
    return this.#view.yaw;
  }
  get pitch(): number {
    return this.#view.pitch;
  }
  get fov(): number {
    return this.#view.fov;
  }

  /** Looks there at once; what is left out stays. */
  set(view: Partial<View>): void {
    this.#speed = { yaw: 0, pitch: 0 };
    if (view.yaw !== undefined && Number.isFinite(view.yaw)) this.#view.yaw = wrap(view.yaw);
    if (view.pitch !== undefined && Number.isFinite(view.pitch)) this.#view.pitch = clampPitch(view.pitch);
    if (view.fov !== undefined && Number.isFinite(view.fov)) this.#view.fov = clampFov(view.fov);
  }

  /** Back to the view one came with. A device keeps its own heading. */
  reset(): void {
    this.set(this.#home);
  }

  /** A finger is down: coasting stops. */
  hold(): void {
    this.#held = true;
    this.#speed = { yaw: 0, pitch: 0 };
  }

  /**
   * Turns by degrees, as a drag does.
   * @param ms since the last call of this drag; 0 when it isn't one, as for keys
   */
  turn(yaw: number, pitch: number, ms = 0): void {
    this.#view.yaw = wrap(this.#view.yaw + yaw);
    this.#view.pitch = clampPitch(this.#view.pitch + pitch);
    if (ms > 0) {
      // Half old, half new: pointer events come in jerks, and the last one alone would decide the fling.
      this.#speed.yaw = fling((this.#speed.yaw + (yaw / ms) * 1000) / 2);
      this.#speed.pitch = fling((this.#speed.pitch + (pitch / ms) * 1000) / 2);
    }
  }

  /** The finger is up: coasts on, unless it had rested for a while or the viewer wants less motion. */
  release(restedMs = 0): void {
    this.#held = false;
    if (this.reducedMotion || restedMs > 80) this.#speed = { yaw: 0, pitch: 0 };
  }

  /** Lets time pass. @returns whether the view moved */
  step(ms: number): boolean {
    if (this.#held || (this.#speed.yaw === 0 && this.#speed.pitch === 0)) return false;
    const seconds = Math.min(ms, 100) / 1000;
    const { yaw, pitch } = this.#speed;
    this.#view.yaw = wrap(this.#view.yaw + yaw * seconds);
    this.#view.pitch = clampPitch(this.#view.pitch + pitch * seconds);
    const keep = Math.exp((-seconds * 1000) / COAST_MS);
    this.#speed = { yaw: yaw * keep, pitch: pitch * keep };
    if (Math.hypot(this.#speed.yaw, this.#speed.pitch) < STILL_DEG_S) this.#speed = { yaw: 0, pitch: 0 };
    return true;
  }

  /** Makes the field of view this many times as wide; below 1 is nearer. */
  zoom(factor: number): void {
    if (Number.isFinite(factor) && factor > 0) this.#view.fov = clampFov(this.#view.fov * factor);
  }

  /**
   * Takes a device's orientation on top of the drag (null: no device any more). The picture does not jump: what one looked
   * at stays in front when the first reading comes, and when the last one has gone.
   */
  setDevice(device: Quaternion | null): void {
    if (device && !this.#device) {
      this.set({ yaw: this.#view.yaw - angles(device).yaw, pitch: 0 });
    } else if (!device && this.#device) {
      const { yaw, pitch } = this.heading();
      this.#device = null;
      this.set({ yaw, pitch });
    }
    this.#device = device;
  }

  /** The rotation to draw with. */
  rotation(): Quaternion {
    const { yaw, pitch } = this.#view;
    if (!this.#device) return multiply(aboutY(-yaw), aboutX(pitch));
    // Pitch on the device's own axis, so that a finger's up is up on the screen however the phone is held.
    return multiply(multiply(aboutY(-yaw), this.#device), aboutX(pitch));
  }

  /** Where the middle of the view points, device and drag together. */
  heading(): { yaw: number; pitch: number } {
    return angles(this.rotation());
  }
}

/** Degrees per CSS pixel in the middle of a view: a drag then keeps the picture under the finger. */
export function degreesPerPixel(fov: number, longerSidePx: number): number {
  const half = Math.tan((fov * Math.PI) / 360);
  return (((2 * half) / Math.max(1, longerSidePx)) * 180) / Math.PI;
}

/** The vertical field of view, degrees, that a camera wants, from the one across the longer side. */
export function verticalFov(fov: number, aspect: number): number {
  if (aspect <= 1) return fov;
  return (2 * Math.atan(Math.tan((fov * Math.PI) / 360) / aspect) * 180) / Math.PI;
}

/** For people: "facing 120° east, 10° up". */
export function describe(yaw: number, pitch: number): string {
  const points = ["front", "front right", "right", "back right", "back", "back left", "left", "front left"];
  const turned = Math.round((((yaw % 360) + 360) % 360) / 45) % 8;
  const tilt = Math.round(pitch);
  const height = Math.abs(tilt) < 5 ? "level" : `${Math.abs(tilt)}° ${tilt > 0 ? "up" : "down"}`;
  return `Facing ${points[turned]}, ${Math.round(wrap(yaw))}°, ${height}`;
}

/** Into −180…180. */
export function wrap(degrees: number): number {
  const turned = (((degrees + 180) % 360) + 360) % 360;
  return turned - 180;
}

export function multiply(a: Quaternion, b: Quaternion): Quaternion {
  const [ax, ay, az, aw] = a;
  const [bx, by, bz, bw] = b;
  return [
    aw * bx + ax * bw + ay * bz - az * by,
    aw * by - ax * bz + ay * bw + az * bx,
    aw * bz + ax * by - ay * bx + az * bw,
    aw * bw - ax * bx - ay * by - az * bz,
  ];
}

export function aboutX(degrees: number): Quaternion {
  const half = (degrees * Math.PI) / 360;
  return [Math.sin(half), 0, 0, Math.cos(half)];
}

export function aboutY(degrees: number): Quaternion {
  const half = (degrees * Math.PI) / 360;
  return [0, Math.sin(half), 0, Math.cos(half)];
}

export function aboutZ(degrees: number): Quaternion {
  const half = (degrees * Math.PI) / 360;
  return [0, 0, Math.sin(half), Math.cos(half)];
}

/** Where a rotation's front (−z) points, degrees. */
function angles(q: Quaternion): { yaw: number; pitch: number } {
  const [x, y, z, w] = q;
  const front = [-2 * (x * z + w * y), -2 * (y * z - w * x), -(1 - 2 * (x * x + y * y))] as const;
  const pitch = (Math.asin(Math.max(-1, Math.min(1, front[1]))) * 180) / Math.PI;
  return { yaw: (Math.atan2(front[0], -front[2]) * 180) / Math.PI, pitch };
}

function clampPitch(degrees: number): number {
  return Math.max(-90, Math.min(90, degrees));
}

function clampFov(degrees: number): number {
  return Math.max(settings.fov.min, Math.min(settings.fov.max, degrees));
}

function fling(speed: number): number {
  return Math.max(-FLING_DEG_S, Math.min(FLING_DEG_S, speed));
}
