// The page's beginning: reads the address and shows the list or the player. The player with its libraries is loaded only when
// there is something to play.

import "./style.css";
import { readPage } from "./config";
import { el } from "./dom";
import { showList } from "./list";

const root = document.getElementById("app");
if (!root) throw new Error("the page has no #app");

const page = readPage(location.search, location.origin);
if (page.kind === "list") {
  showList(root);
} else if (page.kind === "refused") {
  root.replaceChildren(message("This address cannot be played", page.why));
} else {
  try {
    const { watch } = await import("./watch");
    watch(root, page);
  } catch (error) {
    // An old page in a tab asking for a file that a newer server no longer has.
    console.error(error);
    root.replaceChildren(message("The player could not be loaded", "Please load the page again."));
  }
}

function message(title: string, text: string): HTMLElement {
  return el(
    "main",
    { class: "page message" },
    el("h1", {}, title),
    el("p", {}, text),
    el("a", { href: "/" }, "What is live"),
  );
}
