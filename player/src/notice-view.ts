// Shows a notice in the middle of the picture, a short remark near its lower edge, and an offer out of its way. Knows the
// words' shape, not why they are said.

import { watchHref } from "./config";
import { el, setText } from "./dom";
import type { Notice, Offer } from "./notices";

/** How long a remark stays, ms. */
const REMARK_MS = 6_000;

export class NoticeView {
  readonly notice = el("div", { class: "notice empty", role: "status", "aria-live": "polite" });
  readonly remark = el("p", { class: "remark", role: "status", "aria-live": "polite" });
  readonly offer = el("div", { class: "offer", role: "status", "aria-live": "polite", hidden: true });
  #shown = "null";
  #offered: string | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly act: (what: "play" | "reload") => void) {}

  /** Words stand over the picture: not a moment to hide the way back. */
  get talking(): boolean {
    return this.notice.classList.contains("words");
  }

  show(notice: Notice | null): void {
    // Drawn only when it differs: it is read aloud each time, and a focused button would be lost.
    const key = JSON.stringify(notice);
    if (key === this.#shown) return;
    this.#shown = key;
    this.notice.classList.toggle("empty", notice === null);
    this.notice.classList.toggle("words", notice !== null && notice.title !== "");
    if (notice === null) {
      this.notice.replaceChildren();
      return;
    }
    const { busy, title, text } = notice;
    this.notice.replaceChildren(
      ...(busy ? [el("span", { class: "spinner", role: "img", "aria-label": "Loading" })] : []),
      ...(title ? [el("h2", {}, title)] : []),
      ...(text ? [el("p", {}, text)] : []),
      ...this.#action(notice),
    );
  }

  /** Stays until it is taken or no longer true; never in the middle of the picture. */
  propose(offer: Offer | null): void {
    const key = offer === null ? null : JSON.stringify(offer);
    if (key === this.#offered) return;
    this.#offered = key;
    this.offer.hidden = offer === null;
    this.offer.replaceChildren(
      ...(offer
        ? [
            el("span", {}, offer.text),
            el("a", { href: watchHref(offer.playlist, location.origin) }, offer.label),
          ]
        : []),
    );
  }

  say(words: string): void {
    clearTimeout(this.#timer);
    setText(this.remark, words);
    if (words !== "") this.#timer = setTimeout(() => setText(this.remark, ""), REMARK_MS);
  }

  #action({ action }: Notice): HTMLElement[] {
    if (!action) return [];
    if ("playlist" in action) {
      return [el("a", { class: "primary", href: watchHref(action.playlist, location.origin) }, action.label)];
    }
    const button = el("button", { type: "button", class: "primary" }, action.label);
    button.addEventListener("click", () => this.act(action.does));
    return [button];
  }
}
