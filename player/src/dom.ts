// Makes elements. Text always goes in as text, never as HTML, so that a stream's name can hold whatever it likes.

type Child = Node | string | null;
type Attributes = Record<string, string | boolean | null>;

/** `el("a", { href }, "text", child)`; an attribute that is null or false is left out. */
export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter(child => child !== null));
  return element;
}

/** A button with a picture: `label` is its name for people who hear the page, and its tooltip. */
export function iconButton(icon: SVGElement, label: string, attributes: Attributes = {}): HTMLButtonElement {
  const button = el("button", { type: "button", class: "icon-button", ...attributes }, icon);
  name(button, label);
  return button;
}

/** Sets a control's name and tooltip. */
export function name(element: HTMLElement, label: string): void {
  if (element.getAttribute("aria-label") === label) return;
  element.setAttribute("aria-label", label);
  element.title = label;
}

/** Sets text only when it differs: a live region would read the same words again. */
export function setText(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}
