// Draws a <video> on the sphere, for a screen and for a headset. The only file that knows three.js. Knows nothing of HLS,
// buttons or fingers: it is given a video, a layout and a rotation.

import {
  BufferAttribute,
  BufferGeometry,
  GLSL3,
  Group,
  Mesh,
  NoColorSpace,
  PerspectiveCamera,
  RawShaderMaterial,
  RepeatWrapping,
  Scene,
  Texture,
  Vector4,
  WebGLRenderer,
} from "three";
import { type Quaternion, verticalFov } from "./look";
import { type Eye, eyeRect, type Layout, PROJECTIONS } from "./projection";
import { fragmentShader, vertexShader } from "./shaders";

/** What to draw next: a rotation and the field of view across the longer side, degrees. */
export interface Pose {
  rotation: Quaternion;
  fov: number;
  /** For a headset, which turns by itself: only the direction it began with, degrees to the right. */
  heading: number;
}

/** A small copy of what is on the canvas: `columns` × `rows` pixels, RGB 0…255, row by row from the top left. */
export interface PixelGrid {
  columns: number;
  rows: number;
  rgb: number[];
}

const HAS_CALLBACKS = "requestVideoFrameCallback" in HTMLVideoElement.prototype;

/** Some headsets send a page no frame callbacks while a session runs: after so long the video's clock is asked, ms. */
const CALLBACK_SILENCE_MS = 250;

/**
 * A texture that three.js fills from a video, but only when told to. Its own VideoTexture fills at every frame callback, also
 * when a seek began in between: there is no frame then, and the picture turns black until the next one.
 */
class FrameTexture extends Texture {
  readonly isVideoTexture = true;
  /** three.js calls this before each use. */
  update(): void {}
}

export class Sphere {
  #renderer: WebGLRenderer;
  #texture: FrameTexture;
  #scene = new Scene();
  #rig = new Group();
  #camera = new PerspectiveCamera(60, 1, 0.1, 10);
  #materials: Record<Eye, RawShaderMaterial>;
  #layout: Layout = { projection: "equirect", stereo: "mono" };
  /** What is on the canvas: the pose it was drawn with; empty when it must be drawn anew. */
  #drawn = "";
  /** A frame came that the texture doesn't have yet, when the last one came (ms), and the video's clock then (s). */
  #frames = { waiting: false, cameAt: 0, time: -1 };
  #closed = false;

  /**
   * @param nextPose asked before each picture
   * @param lost called with true when the graphics card dropped us, with false when it is back
   * @throws Error when there is no WebGL 2
   */
  constructor(
    private readonly canvas: HTMLCanvasElement,
    private readonly video: HTMLVideoElement,
    private readonly nextPose: (now: number) => Pose,
    lost: (gone: boolean) => void,
  ) {
    // Asked first, since three.js would report its failure to the console as an error before it throws.
    const context = canvas.getContext("webgl2", {
      alpha: false,
      antialias: false,
      depth: false,
      stencil: false,
      xrCompatible: false,
    });
    if (!context) throw new Error("no WebGL 2");
    this.#renderer = new WebGLRenderer({
      canvas,
      context,
      antialias: false,
      depth: false,
      powerPreference: "high-performance",
    });
    this.#renderer.xr.enabled = true;
    this.#renderer.xr.setReferenceSpaceType("local");
    canvas.addEventListener("webglcontextlost", event => {
      event.preventDefault();
      lost(true);
    });
    canvas.addEventListener("webglcontextrestored", () => {
      this.#frames.waiting = true;
      this.#drawn = "";
      lost(false);
    });

    this.#texture = new FrameTexture(video);
    // As it comes: the shader hands the browser's sRGB on, and its top line is v = 0.
    this.#texture.colorSpace = NoColorSpace;
    this.#texture.flipY = false;
    this.#texture.wrapS = RepeatWrapping;

    const geometry = new BufferGeometry();
    geometry.setAttribute(
      "position",
      new BufferAttribute(new Float32Array([-1, -1, 0, 3, -1, 0, -1, 3, 0]), 3),
    );
    this.#materials = { left: this.#material(), right: this.#material() };
    this.#addEye(geometry, this.#materials.left, [0, 1]);
    // Layer 2 is what three.js shows the right eye only; a screen shows layer 0.
    this.#addEye(geometry, this.#materials.right, [2]);
    this.#rig.add(this.#camera);
    this.#scene.add(this.#rig);
    this.setLayout(this.#layout);
    this.#listenForFrames();
    this.#renderer.setAnimationLoop(now => this.#frame(now));
  }

  get layout(): Layout {
    return this.#layout;
  }

  get presenting(): boolean {
    return this.#renderer.xr.isPresenting;
  }

  setLayout(layout: Layout): void {
    this.#layout = { ...layout };
    for (const eye of ["left", "right"] as const) {
      this.#setUniform(eye, "eye", new Vector4(...eyeRect(layout.stereo, eye)));
      this.#setUniform(eye, "projection", PROJECTIONS.indexOf(layout.projection));
    }
    this.#drawn = "";
  }

  /** CSS pixels, and how many drawn pixels each is. */
  resize(width: number, height: number, pixelRatio: number): void {
    if (this.presenting) return;
    this.#renderer.setPixelRatio(pixelRatio);
    this.#renderer.setSize(Math.max(1, width), Math.max(1, height), false);
    this.#drawn = "";
  }

  /** Puts the picture into a headset's session until that ends. */
  async present(session: XRSession): Promise<void> {
    await this.#renderer.xr.setSession(session);
  }

  /** Draws now and reads back a grid of pixels; for tests, which see no more than a canvas otherwise. */
  readPixels(columns = 32, rows = 18): PixelGrid {
    const gl = this.#renderer.getContext();
    const now = performance.now();
    this.#frames.waiting = true;
    this.#takeFrame(now);
    this.#draw(this.nextPose(now));
    const [width, height] = [gl.drawingBufferWidth, gl.drawingBufferHeight];
    const all = new Uint8Array(width * height * 4);
    gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, all);
    const rgb: number[] = [];
    for (let row = 0; row < rows; row += 1) {
      for (let column = 0; column < columns; column += 1) {
        const x = Math.floor(((column + 0.5) / columns) * width);
        // WebGL's first row is the lowest.
        const y = height - 1 - Math.floor(((row + 0.5) / rows) * height);
        const at = (y * width + x) * 4;
        rgb.push(all[at] ?? 0, all[at + 1] ?? 0, all[at + 2] ?? 0);
      }
    }
    return { columns, rows, rgb };
  }

  dispose(): void {
    this.#closed = true;
    this.#renderer.setAnimationLoop(null);
    this.#texture.dispose();
    this.#materials.left.dispose();
    this.#materials.right.dispose();
    this.#renderer.dispose();
  }

  #frame(now: number): void {
    const pose = this.nextPose(now);
    const fresh = this.#takeFrame(now);
    const key = `${pose.rotation.join()},${pose.fov}`;
    // A still picture looked at by a still viewer costs nothing; a headset wants every picture.
    if (!fresh && key === this.#drawn && !this.presenting) return;
    this.#drawn = key;
    this.#draw(pose);
  }

  /** Has the texture filled if there is a new frame. @returns whether there is */
  #takeFrame(now: number): boolean {
    const frames = this.#frames;
    const silent = !HAS_CALLBACKS || (this.presenting && now - frames.cameAt > CALLBACK_SILENCE_MS);
    const due = frames.waiting || (silent && this.video.currentTime !== frames.time);
    // A seek may have begun since: then there is nothing to fill it with, and what it holds is better than black.
    if (!due || this.video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA) return false;
    frames.waiting = false;
    frames.time = this.video.currentTime;
    this.#texture.needsUpdate = true;
    return true;
  }

  #listenForFrames(): void {
    if (!HAS_CALLBACKS || this.#closed) return;
    this.video.requestVideoFrameCallback(now => {
      this.#frames.waiting = true;
      this.#frames.cameAt = now;
      this.#listenForFrames();
    });
  }

  #draw(pose: Pose): void {
    const { clientWidth, clientHeight } = this.canvas;
    if (this.presenting) {
      this.#rig.rotation.set(0, (-pose.heading * Math.PI) / 180, 0);
    } else {
      this.#rig.rotation.set(0, 0, 0);
      this.#camera.aspect = Math.max(1, clientWidth) / Math.max(1, clientHeight);
      this.#camera.fov = verticalFov(pose.fov, this.#camera.aspect);
      this.#camera.quaternion.set(...pose.rotation);
      this.#camera.updateProjectionMatrix();
    }
    const [, , width, height] = eyeRect(this.#layout.stereo, "left");
    const whole = this.video.videoHeight > 0 ? this.video.videoWidth / this.video.videoHeight : 2;
    for (const eye of ["left", "right"] as const) this.#setUniform(eye, "aspect", (whole * width) / height);
    this.#renderer.render(this.#scene, this.#camera);
  }

  #setUniform(eye: Eye, name: string, value: unknown): void {
    const uniform = this.#materials[eye].uniforms[name];
    if (uniform) uniform.value = value;
  }

  #material(): RawShaderMaterial {
    return new RawShaderMaterial({
      glslVersion: GLSL3,
      vertexShader,
      fragmentShader,
      depthTest: false,
      depthWrite: false,
      uniforms: {
        picture: { value: this.#texture },
        projection: { value: 0 },
        eye: { value: new Vector4(0, 0, 1, 1) },
        aspect: { value: 2 },
      },
    });
  }

  #addEye(geometry: BufferGeometry, material: RawShaderMaterial, layers: number[]): void {
    const mesh = new Mesh(geometry, material);
    mesh.frustumCulled = false;
    mesh.layers.disableAll();
    for (const layer of layers) mesh.layers.enable(layer);
    this.#scene.add(mesh);
  }
}
