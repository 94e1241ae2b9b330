// Fills the screen with an element, also where there is no such thing: on an iPhone the element is laid over the whole page
// instead. Knows nothing of what is in it.

interface Prefixed extends HTMLElement {
  webkitRequestFullscreen?: () => Promise<void> | void;
}

interface PrefixedDocument extends Document {
  webkitFullscreenElement?: Element | null;
  webkitExitFullscreen?: () => Promise<void> | void;
}

export class Fullscreen {
  constructor(
    private readonly element: Prefixed,
    private readonly changed: () => void,
  ) {
    for (const event of ["fullscreenchange", "webkitfullscreenchange"])
      document.addEventListener(event, changed);
    document.addEventListener("keydown", event => {
      if (event.key === "Escape" && this.#pretended) this.#pretend(false);
    });
  }

  get on(): boolean {
    return this.#pretended || this.#real !== null;
  }

  async toggle(): Promise<void> {
    if (this.#pretended) return this.#pretend(false);
    const page = document as PrefixedDocument;
    if (this.#real) {
      await (page.exitFullscreen?.() ?? page.webkitExitFullscreen?.());
      return;
    }
    try {
      if (this.element.requestFullscreen) await this.element.requestFullscreen({ navigationUI: "hide" });
      else if (this.element.webkitRequestFullscreen) await this.element.webkitRequestFullscreen();
      else this.#pretend(true);
    } catch {
      this.#pretend(true);
    }
  }

  get #real(): Element | null {
    const page = document as PrefixedDocument;
    return page.fullscreenElement ?? page.webkitFullscreenElement ?? null;
  }

  get #pretended(): boolean {
    return this.element.classList.contains("pretended-fullscreen");
  }

  #pretend(on: boolean): void {
    this.element.classList.toggle("pretended-fullscreen", on);
    document.documentElement.classList.toggle("no-scroll", on);
    this.changed();
  }
}
