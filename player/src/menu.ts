// A button that opens a small panel of choices: radio buttons in groups. Knows no player: it is given names and says which
// was chosen.

import { el, iconButton } from "./dom";
import { icon } from "./icons";

export interface Choice {
  value: string;
  name: string;
  detail?: string;
}

export interface Group {
  id: string;
  title: string;
  choices: Choice[];
  chosen: string;
}

export class Menu {
  readonly element: HTMLElement;
  #button: HTMLButtonElement;
  #panel: HTMLElement;
  #groups: Group[] = [];

  /** @param choose called with the group's id and the value */
  constructor(
    label: string,
    private readonly choose: (group: string, value: string) => void,
  ) {
    this.#button = iconButton(icon("tune"), label, {
      "aria-expanded": "false",
      "aria-controls": "settings-panel",
    });
    this.#panel = el("div", {
      class: "panel",
      id: "settings-panel",
      role: "group",
      "aria-label": label,
      hidden: true,
    });
    this.element = el("div", { class: "menu" }, this.#panel, this.#button);
    this.#button.addEventListener("click", () => this.#open(!this.open));
    this.element.addEventListener("keydown", event => {
      if (event.key !== "Escape" || this.#panel.hidden) return;
      event.stopPropagation();
      this.#open(false);
      this.#button.focus();
    });
    document.addEventListener("pointerdown", event => {
      if (!this.#panel.hidden && !this.element.contains(event.target as Node)) this.#open(false);
    });
    this.#panel.addEventListener("change", event => {
      const input = event.target as HTMLInputElement;
      this.choose(input.name, input.value);
    });
  }

  get open(): boolean {
    return !this.#panel.hidden;
  }

  /** Shows these groups; does nothing when they are what is shown, so that a focus inside stays where it is. */
  update(groups: Group[]): void {
    const shape = (list: Group[]) => JSON.stringify(list.map(({ chosen: _, ...group }) => group));
    const same = shape(groups) === shape(this.#groups);
    this.#groups = groups;
    if (!same) this.#panel.replaceChildren(...groups.map(group => this.#fieldset(group)));
    for (const group of groups) {
      const inputs = this.#panel.querySelectorAll<HTMLInputElement>(`input[name="${group.id}"]`);
      for (const input of inputs) input.checked = input.value === group.chosen;
    }
  }

  #fieldset(group: Group): HTMLElement {
    const choices = group.choices.map(choice =>
      el(
        "label",
        { class: "choice" },
        el("input", { type: "radio", name: group.id, value: choice.value }),
        el("span", { class: "choice-name" }, choice.name),
        choice.detail ? el("span", { class: "choice-detail" }, choice.detail) : null,
      ),
    );
    return el("fieldset", {}, el("legend", {}, group.title), el("div", { class: "choices" }, ...choices));
  }

  #open(open: boolean): void {
    this.#panel.hidden = !open;
    this.#button.setAttribute("aria-expanded", String(open));
    if (open) this.#panel.querySelector<HTMLInputElement>("input:checked")?.focus();
  }
}
