// The page at `/`: what is live, what was recorded, and how to broadcast. Knows the server's answers, not the player.

import { askStreams, poll } from "./api";
import { settings, watchHref } from "./config";
import { el, setText } from "./dom";
import { icon, svg } from "./icons";
import { size } from "./quality";
import { Recordings } from "./recordings";
import { listed, type Stream, span } from "./streams";

const STATE_WORDS = { live: "Live", waiting: "Waiting", ended: "Ended" } as const;

export function showList(root: HTMLElement): void {
  document.title = "live360";
  const status = el("p", { class: "quiet", role: "status" }, "Looking for streams…");
  const streams = el("div", { class: "cards" });
  const recordings = new Recordings();
  const howTo = broadcastHelp();
  root.replaceChildren(
    el(
      "div",
      { class: "page" },
      el("header", { class: "masthead" }, icon("sphere"), el("h1", {}, "live", el("b", {}, "360"))),
      el("main", {}, status, streams, howTo, recordings.element),
    ),
  );
  let shown = "";
  poll(settings.listPollMs, async signal => {
    try {
      const { catalogue } = await askStreams(signal);
      const visible = listed(catalogue.streams);
      const live = visible.filter(stream => stream.state === "live").length;
      setText(status, headline(visible.length, live));
      howTo.open = howTo.open || visible.length === 0;
      // A card that is replaced loses the focus, so only what changed is drawn again. The ages are minutes.
      const key = JSON.stringify([visible, catalogue.assets, Math.floor(Date.now() / 60_000)]);
      if (key === shown) return;
      shown = key;
      drawStreams(streams, visible);
      recordings.update(catalogue.assets);
    } catch (error) {
      if (signal.aborted) return;
      setText(
        status,
        `The server does not answer just now (${error instanceof Error ? error.message : "unknown"}). Trying again.`,
      );
    }
  });
}

function headline(visible: number, live: number): string {
  if (visible === 0) return "Nothing is live yet. This page shows a broadcast as soon as it begins.";
  if (live === 0) return "Nothing is live at the moment.";
  return live === 1 ? "1 broadcast is live." : `${live} broadcasts are live.`;
}

function drawStreams(into: HTMLElement, streams: readonly Stream[]): void {
  const focused = (document.activeElement as HTMLElement | null)?.dataset["name"];
  into.replaceChildren(...streams.map(card));
  if (focused !== undefined) {
    [...into.querySelectorAll<HTMLElement>("[data-name]")]
      .find(item => item.dataset["name"] === focused)
      ?.focus();
  }
}

function card(stream: Stream): HTMLElement {
  const best = stream.rungs[0];
  const facts = [best ? size(best) : null, layoutWords(stream)].filter(fact => fact !== null).join(" · ");
  const since = stream.since === null ? "" : sinceWords(stream.state, Date.now() - stream.since);
  const link = el(
    "a",
    { class: `card ${stream.state}`, href: watchHref(stream.url, location.origin), "data-name": stream.name },
    globe(),
    el(
      "span",
      { class: `badge ${stream.state}` },
      el("span", { class: "dot", "aria-hidden": "true" }),
      STATE_WORDS[stream.state],
    ),
    el(
      "span",
      { class: "card-text" },
      el("strong", {}, stream.name, stream.locked ? lock() : null),
      el("span", { class: "quiet" }, since),
      el("span", { class: "quiet" }, facts),
    ),
  );
  link.style.setProperty("--hue", String(hue(stream.name)));
  return link;
}

/** How to point an encoder here, with the address that this page was opened by. */
function broadcastHelp(): HTMLDetailsElement {
  const host =
    location.hostname.includes(":") && !location.hostname.startsWith("[")
      ? `[${location.hostname}]`
      : location.hostname;
  return el(
    "details",
    { class: "how-to" },
    el("summary", {}, "Broadcast to this server"),
    el("p", {}, "In OBS, open Settings → Stream, choose “Custom…”, and fill in:"),
    el(
      "dl",
      {},
      el("dt", {}, "Server"),
      copyable(`rtmp://${host}/live`),
      el("dt", {}, "Stream key"),
      copyable("my-stream"),
    ),
    el(
      "p",
      { class: "quiet" },
      "The key is the name that viewers see: letters a–z, digits, - and _. ",
      "Set the key frame interval to 2 s; send H.264 video with AAC sound. If the server has keys: NAME?key=SECRET.",
    ),
  );
}

function copyable(text: string): HTMLElement {
  const button = el(
    "button",
    { type: "button", class: "copy", "aria-label": `Copy ${text}`, title: "Copy" },
    icon("copy"),
  );
  button.addEventListener("click", async () => {
    // Only https pages and localhost have a clipboard; the text can be selected by hand.
    await navigator.clipboard?.writeText(text).then(
      () => button.classList.add("done"),
      () => undefined,
    );
    setTimeout(() => button.classList.remove("done"), 1_500);
  });
  return el("dd", {}, el("code", {}, text), button);
}

function layoutWords({ layout }: Stream): string {
  const shape = {
    equirect: "360°",
    hequ: "180°",
    cubemap: "360° cube map",
    dfisheye: "two fisheyes",
    flat: "flat",
  }[layout.projection];
  return layout.stereo === "mono" ? shape : `${shape} 3D`;
}

function sinceWords(state: Stream["state"], ms: number): string {
  return state === "ended" ? `${span(ms)} ago` : `for ${span(ms)}`;
}

/** Stands beside what plays by a signed link only. */
export function lock(): HTMLElement {
  const words = "By a signed link only";
  return el("span", { class: "lock", role: "img", "aria-label": words, title: words }, icon("lock"));
}

/** Lines of longitude and latitude in place of a still that nobody makes yet. */
function globe(): SVGElement {
  const image = svg("svg", {
    viewBox: "0 0 320 160",
    class: "globe",
    preserveAspectRatio: "xMidYMid slice",
    "aria-hidden": "true",
  });
  for (const rx of [28, 82, 128])
    image.append(svg("ellipse", { cx: "160", cy: "80", rx: String(rx), ry: "150" }));
  for (const bend of [-110, -55, 0, 55, 110]) {
    image.append(
      svg("path", { d: `M-20 ${80 + bend * 0.55} Q160 ${80 + bend * 1.25} 340 ${80 + bend * 0.55}` }),
    );
  }
  image.append(svg("path", { d: "M160 -80V240" }));
  return image;
}

/** A colour of its own for each name, always the same. */
function hue(name: string): number {
  let sum = 0;
  for (const char of name) sum = (sum * 31 + (char.codePointAt(0) ?? 0)) % 3600;
  // Blues, greens and violets; red is for what is live.
  return 150 + (sum % 140);
}
