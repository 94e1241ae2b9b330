// The recordings on the list page, under the names of what was broadcast: a few of each, more on request, so that five hundred
// are as calm as five. Knows the server's words for them, not the player.

import { assetWords, dateWords, groupByName, joinSingles, moreWords } from "./assets";
import { watchHref } from "./config";
import { el } from "./dom";
import { icon } from "./icons";
import { type Asset, clock } from "./streams";
import { firstTile, showTile } from "./tiles";

/** Shown at first, and added by each press of the button. */
const NAMES = { first: 12, step: 24 };
const OF_A_NAME = { first: 6, step: 24 };
/** Stills this near the window's edge are loaded, px. */
const NEAR_PX = 200;

type Rows = Map<string, { key: string; row: HTMLElement }>;

export class Recordings {
  readonly element = el("section", { class: "recordings", "aria-label": "Recordings", hidden: true });
  #assets: readonly Asset[] = [];
  #names = NAMES.first;
  readonly #ofName = new Map<string, number>();
  /** Rows as they were drawn, by recording: one that has not changed keeps its still. */
  #rows: Rows = new Map();
  readonly #seen = new IntersectionObserver(entries => this.#come(entries), { rootMargin: `${NEAR_PX}px` });

  update(assets: readonly Asset[]): void {
    this.#assets = assets;
    this.#draw();
  }

  #draw(): void {
    const focused = (document.activeElement as HTMLElement | null)?.dataset["asset"];
    const groups = groupByName(this.#assets);
    const before = this.#rows;
    this.#rows = new Map();
    this.#seen.disconnect();
    const shown = groups.slice(0, this.#names);
    const sections = joinSingles(shown).map(({ name, assets }) =>
      name === null ? this.#singles(assets, before) : this.#group(name, assets, before),
    );
    const more = this.#more(shown.length, groups.length, NAMES.step, () => {
      this.#names += NAMES.step;
      return groups[shown.length]?.assets[0]?.id;
    });
    this.element.hidden = groups.length === 0;
    this.element.replaceChildren(el("h2", {}, "Recordings"), ...sections, ...(more ? [more] : []));
    if (focused !== undefined) this.#focus(focused);
  }

  #group(name: string, assets: readonly Asset[], before: Rows): HTMLElement {
    const shown = assets.slice(0, this.#ofName.get(name) ?? OF_A_NAME.first);
    const more = this.#more(shown.length, assets.length, OF_A_NAME.step, () => {
      this.#ofName.set(name, shown.length + OF_A_NAME.step);
      return assets[shown.length]?.id;
    });
    return el(
      "section",
      { class: "tapes", "aria-label": name },
      el("h3", {}, name, el("span", { class: "quiet" }, `${assets.length} recordings`)),
      el("ul", {}, ...shown.map(asset => el("li", {}, this.#row(asset, false, before)))),
      more,
    );
  }

  #singles(assets: readonly Asset[], before: Rows): HTMLElement {
    const rows = assets.map(asset => el("li", {}, this.#row(asset, true, before)));
    return el("section", { class: "tapes" }, el("ul", {}, ...rows));
  }

  #row(asset: Asset, named: boolean, before: Rows): HTMLElement {
    const key = JSON.stringify([asset, named]);
    const known = before.get(asset.id);
    const row = known?.key === key ? known.row : tape(asset, named);
    this.#rows.set(asset.id, { key, row });
    const still = row.querySelector<HTMLElement>(".still");
    if (still?.dataset["tiles"] !== undefined) this.#seen.observe(still);
    return row;
  }

  /** @param act shows more; returns the recording that came first of them */
  #more(shown: number, all: number, step: number, act: () => string | undefined): HTMLElement | null {
    const words = moreWords(shown, all, step);
    if (words === null) return null;
    const button = el("button", { type: "button", class: "more" }, words);
    button.addEventListener("click", () => {
      const first = act();
      this.#draw();
      // The button is gone or further down: whoever pressed it by a key goes on with what it brought.
      if (first !== undefined) this.#focus(first);
    });
    return button;
  }

  #focus(id: string): void {
    [...this.element.querySelectorAll<HTMLElement>("[data-asset]")]
      .find(row => row.dataset["asset"] === id)
      ?.focus({ preventScroll: true });
  }

  #come(entries: readonly IntersectionObserverEntry[]): void {
    for (const { isIntersecting, target } of entries) {
      const { tiles } = (target as HTMLElement).dataset;
      if (!isIntersecting || tiles === undefined) continue;
      this.#seen.unobserve(target);
      void firstTile(tiles).then(tile => {
        if (tile) showTile(target as HTMLElement, tile);
      });
    }
  }
}

/** @param named its name stands in it, not over it */
function tape(asset: Asset, named: boolean): HTMLElement {
  const { id, name, url, start, durationS, state, progress, reason, locked } = asset;
  // Who has no link may not see its pictures either.
  const thumbnails = locked ? null : asset.thumbnails;
  const still = el(
    "span",
    { class: "still", "data-tiles": thumbnails, "aria-hidden": "true" },
    thumbnails === null ? icon(locked ? "lock" : "sphere") : null,
  );
  const dates = start === null ? [] : [dateWords(start, named ? "date" : "time")];
  const facts = [...dates, ...(durationS === null ? [] : [clock(durationS)])];
  const text = el(
    "span",
    { class: "tape-text" },
    el(
      "strong",
      { title: locked ? "By a signed link only" : null },
      named ? name : start === null ? id : dateWords(start, "date"),
    ),
    el("span", { class: "quiet", title: start === null ? null : dateWords(start) }, facts.join(" · ")),
    el("span", { class: `tape-state ${state}`, title: reason }, assetWords(asset)),
    progress === null ? null : el("progress", { max: "1", value: String(progress), "aria-hidden": "true" }),
  );
  // There is nothing to play of one that could not be made.
  return state === "failed"
    ? el("span", { class: "tape failed", "data-asset": id, tabindex: "-1" }, still, text)
    : el("a", { class: "tape", href: watchHref(url, location.origin), "data-asset": id }, still, text);
}
