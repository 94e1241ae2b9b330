// Where a direction lies in the picture. The same sums as the shader (shaders.ts), in TypeScript, so that tests can check
// them against known places. Pure: knows no WebGL, no video.
//
// Directions: x right, y up, −z front. Pictures: u from the left, v from the top, both 0…1 within one eye's picture.

/** How the picture maps to directions; the server's names. */
export type Projection = "equirect" | "hequ" | "cubemap" | "dfisheye" | "flat";
/** How two eyes share the picture: one for both, left on top, left on the left. */
export type Stereo = "mono" | "tb" | "lr";
export interface Layout {
  projection: Projection;
  stereo: Stereo;
}
export type Eye = "left" | "right";
export type Vec3 = readonly [number, number, number];

/** In the order of the shader's switch. */
export const PROJECTIONS: readonly Projection[] = ["equirect", "hequ", "cubemap", "dfisheye", "flat"];
export const STEREOS: readonly Stereo[] = ["mono", "tb", "lr"];

/** Width of the screen that a flat picture becomes, degrees: as wide as it fills a view of the starting field. */
export const FLAT_HFOV_DEG = 90;

export function parseProjection(text: unknown): Projection | undefined {
  return PROJECTIONS.find(name => name === text);
}

export function parseStereo(text: unknown): Stereo | undefined {
  return STEREOS.find(name => name === text);
}

/** The unit direction of a yaw (to the right) and a pitch (up), degrees. */
export function direction(yaw: number, pitch: number): Vec3 {
  const [y, p] = [(yaw * Math.PI) / 180, (pitch * Math.PI) / 180];
  return [Math.sin(y) * Math.cos(p), Math.sin(p), -Math.cos(y) * Math.cos(p)];
}

/**
 * Where a unit direction lies in one eye's picture, or null where the picture has nothing (shown black).
 * @param aspect width by height of one eye's picture; only a flat picture needs it
 */
export function toPicture(dir: Vec3, projection: Projection, aspect = 2): [number, number] | null {
  const [x, y, z] = dir;
  switch (projection) {
    case "equirect":
      return [0.5 + Math.atan2(x, -z) / (2 * Math.PI), 0.5 - Math.asin(clamp(y)) / Math.PI];
    case "hequ":
      return z > 0 ? null : [0.5 + Math.atan2(x, -z) / Math.PI, 0.5 - Math.asin(clamp(y)) / Math.PI];
    case "cubemap":
      return cube(x, y, z);
    case "dfisheye":
      return fisheyes(x, y, z);
    case "flat": {
      if (z >= 0) return null;
      const half = Math.tan((FLAT_HFOV_DEG * Math.PI) / 360);
      const u = 0.5 + x / -z / (2 * half);
      const v = 0.5 - (y / -z / (2 * half)) * aspect;
      return u < 0 || u > 1 || v < 0 || v > 1 ? null : [u, v];
    }
  }
}

/** Where one eye's picture lies in the whole: x, y, width, height as parts of it, from the top left. */
export function eyeRect(stereo: Stereo, eye: Eye): [number, number, number, number] {
  const second = eye === "right" ? 0.5 : 0;
  switch (stereo) {
    case "mono":
      return [0, 0, 1, 1];
    case "tb":
      return [0, second, 1, 0.5];
    case "lr":
      return [second, 0, 0.5, 1];
  }
}

/** Six faces, 3 × 2: right left up / down front back; each upright as seen from inside, up and down hinged on the front. */
function cube(x: number, y: number, z: number): [number, number] {
  const [ax, ay, az] = [Math.abs(x), Math.abs(y), Math.abs(z)];
  let face: number;
  let s: number;
  let t: number;
  if (ax >= ay && ax >= az) {
    face = x > 0 ? 0 : 1;
    [s, t] = [(x > 0 ? z : -z) / ax, -y / ax];
  } else if (ay >= az) {
    face = y > 0 ? 2 : 3;
    [s, t] = [x / ay, (y > 0 ? -z : z) / ay];
  } else {
    face = z < 0 ? 4 : 5;
    [s, t] = [(z < 0 ? x : -x) / az, -y / az];
  }
  return [((face % 3) + 0.5 + s / 2) / 3, (Math.floor(face / 3) + 0.5 + t / 2) / 2];
}

/** Two circles of 180° side by side, the back on the left and the front on the right, as FFmpeg's v360 lays them. */
function fisheyes(x: number, y: number, z: number): [number, number] {
  const front = z <= 0;
  const length = Math.hypot(x, y);
  const radius = Math.acos(clamp(Math.abs(z))) / (Math.PI / 2);
  const [s, t] = length === 0 ? [0, 0] : [((front ? x : -x) / length) * radius, (-y / length) * radius];
  return [(front ? 0.5 : 0) + (0.5 + s / 2) / 2, 0.5 + t / 2];
}

function clamp(value: number): number {
  return Math.max(-1, Math.min(1, value));
}
