// Gets a session of a headset from the browser and hands it on. Knows no three.js: who draws says how to present.

export type HeadsetSupport = "none" | "insecure" | "available";

/** Whether there is a headset; on plain http the browser does not say, so a headset's own browser is told why. */
export async function headsetSupport(): Promise<HeadsetSupport> {
  if (!isSecureContext)
    return /OculusBrowser|PicoBrowser|Wolvic|VisionOS/i.test(navigator.userAgent) ? "insecure" : "none";
  if (!navigator.xr) return "none";
  const yes = await navigator.xr.isSessionSupported("immersive-vr").catch(() => false);
  return yes ? "available" : "none";
}

export class Headset {
  #session: XRSession | null = null;

  /**
   * @param present starts drawing into the session
   * @param changed the session began or ended
   */
  constructor(
    private readonly present: (session: XRSession) => Promise<void>,
    private readonly changed: () => void,
  ) {}

  get on(): boolean {
    return this.#session !== null;
  }

  /** Must be called from a click. @throws when the browser or its user says no */
  async enter(): Promise<void> {
    if (this.#session || !navigator.xr) return;
    const session = await navigator.xr.requestSession("immersive-vr", { optionalFeatures: ["local-floor"] });
    this.#session = session;
    session.addEventListener("end", () => {
      this.#session = null;
      this.changed();
    });
    try {
      await this.present(session);
    } catch (error) {
      await session.end().catch(() => undefined);
      throw error;
    }
    this.changed();
  }

  async leave(): Promise<void> {
    await this.#session?.end();
  }
}
