// The page's own icons: strokes on a 24 × 24 grid, drawn in the colour of the text around them.

const PATHS = {
  play: "M7 4.5v15l12-7.5z",
  pause: "M8 5v14M16 5v14",
  sound: "M4 9.5v5h3.5l5 4.5v-14l-5 4.5zM16 9a4.2 4.2 0 0 1 0 6M18.6 6.4a8 8 0 0 1 0 11.2",
  muted: "M4 9.5v5h3.5l5 4.5v-14l-5 4.5zM16.5 9.5l5 5M21.5 9.5l-5 5",
  enlarge: "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5",
  shrink: "M9 4v5H4M15 4v5h5M9 20v-5H4M15 20v-5h5",
  tune: "M4 7h9M17 7h3M4 17h3M11 17h9M15 4.6a2.4 2.4 0 1 1 0 4.8 2.4 2.4 0 0 1 0-4.8zM9 14.6a2.4 2.4 0 1 1 0 4.8 2.4 2.4 0 0 1 0-4.8z",
  motion:
    "M9 3h6a1.5 1.5 0 0 1 1.5 1.5v15A1.5 1.5 0 0 1 15 21H9a1.5 1.5 0 0 1-1.5-1.5v-15A1.5 1.5 0 0 1 9 3zM3 8.5a8 8 0 0 0 0 7M21 8.5a8 8 0 0 1 0 7",
  headset:
    "M4 7.5h16a1.5 1.5 0 0 1 1.5 1.5v7a1.5 1.5 0 0 1-1.5 1.5h-4.4l-2-3a1.9 1.9 0 0 0-3.2 0l-2 3H4A1.5 1.5 0 0 1 2.5 16V9A1.5 1.5 0 0 1 4 7.5zM7.5 10.6a1.6 1.6 0 1 1 0 3.2 1.6 1.6 0 0 1 0-3.2zM16.5 10.6a1.6 1.6 0 1 1 0 3.2 1.6 1.6 0 0 1 0-3.2z",
  back: "M15 5l-7 7 7 7",
  lock: "M6 11h12v9H6zM8.5 11V8a3.5 3.5 0 0 1 7 0v3",
  copy: "M9 9h10v11H9zM5 15V4h10",
  sphere:
    "M12 3a9 9 0 1 1 0 18 9 9 0 0 1 0-18zM12 3c3 2.6 4 5.6 4 9s-1 6.4-4 9c-3-2.6-4-5.6-4-9s1-6.4 4-9zM3 12h18",
} as const;

export type IconName = keyof typeof PATHS;

export function icon(which: IconName): SVGSVGElement {
  const image = svg("svg", {
    viewBox: "0 0 24 24",
    class: "icon",
    "aria-hidden": "true",
    focusable: "false",
  });
  image.append(svg("path", { d: PATHS[which], ...(which === "play" ? { class: "filled" } : {}) }));
  return image;
}

export function svg<K extends keyof SVGElementTagNameMap>(
  tag: K,
  attributes: Record<string, string>,
): SVGElementTagNameMap[K] {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}
