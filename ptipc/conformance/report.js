
// The page of "ptipc report" is complete without this; with it, the matrix is a grid for the keyboard,
// its cells open a panel, and there are filters.
"use strict";
(() => {
  const matrix = document.getElementById("matrix");
  if (!matrix) return;
  const find = id => document.getElementById(id);
  const filters = find("filters"), panel = find("panel"), said = find("said");
  const heads = [...matrix.tHead.rows[1].cells];
  const FINDINGS = ["fail", "xpass", "error", "warn", "note", "known"];

  // --- the rows -----------------------------------------------------------------------------------

  // Column 0 is the case itself; what has no verdict has no link, and its cell gets the focus.
  const rows = [...matrix.querySelectorAll("tr[data-level]")].map((row, number) => ({
    row, number, level: row.dataset.level, cells: [...row.cells],
    id: decodeURIComponent(row.cells[0].firstElementChild.hash.slice(1)),
    outcomes: [...row.cells].slice(1).map(cell => cell.firstElementChild?.textContent ?? ""),
    title: row.cells[0].firstElementChild.firstChild.textContent.trim(), words: null,
  }));
  const place = new Map(rows.map(each => [each.id, each]));
  const stop = (row, column) => row.cells[column].firstElementChild ?? row.cells[column];
  let at = { row: rows[0], column: 0 };

  matrix.setAttribute("role", "grid");
  matrix.setAttribute("aria-readonly", "true");
  for (const row of rows) {
    for (let column = 0; column < row.cells.length; column++) stop(row, column).tabIndex = -1;
  }
  stop(at.row, at.column).tabIndex = 0;

  function where(element) {
    const cell = element.closest("#matrix tbody td, #matrix tbody th[scope=row]");
    if (!cell) return null;
    const row = place.get(decodeURIComponent(cell.parentElement.cells[0].firstElementChild.hash.slice(1)));
    return { row, column: row.cells.indexOf(cell) };
  }

  function settle(row, column) {
    stop(at.row, at.column).tabIndex = -1;
    heads[at.column - 1]?.classList.remove("here");
    at = { row, column };
    stop(row, column).tabIndex = 0;
    heads[column - 1]?.classList.add("here");
  }

  function focus(row, column) {
    settle(row, column);
    stop(row, column).focus();
  }

  const showing = () => rows.filter(each => !each.row.hidden);
  const columns = () => [0, ...heads.keys()].map((_, column) => column)
    .filter(column => column === 0 || !heads[column - 1].hidden);

  matrix.addEventListener("focusin", event => {
    const target = where(event.target);
    if (target) settle(target.row, target.column);
  });

  matrix.addEventListener("keydown", event => {
    if (event.altKey || event.metaKey || event.shiftKey) return;
    const target = where(event.target);
    if (!target) return;
    const down = showing(), across = columns();
    let y = down.indexOf(target.row), x = across.indexOf(target.column);
    switch (event.key) {
      case "ArrowUp": y -= 1; break;
      case "ArrowDown": y += 1; break;
      case "ArrowLeft": x -= 1; break;
      case "ArrowRight": x += 1; break;
      case "PageUp": y -= 10; break;
      case "PageDown": y += 10; break;
      case "Home": x = 0; if (event.ctrlKey) y = 0; break;
      case "End": x = across.length - 1; if (event.ctrlKey) y = down.length - 1; break;
      default: return;
    }
    if (event.ctrlKey && !["Home", "End"].includes(event.key)) return;
    event.preventDefault();
    const clamp = (value, length) => Math.max(0, Math.min(value, length - 1));
    focus(down[clamp(y, down.length)], across[clamp(x, across.length)]);
  });

  // --- the panel ----------------------------------------------------------------------------------

  const make = (name, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(name), properties);
    element.append(...children);
    return element;
  };
  const mark = word => make("b", { className: `mark ${word}`, textContent: word });
  const address = (row, column) =>
    `#${encodeURIComponent(row.id)}${column ? `/${heads[column - 1].dataset.slug}` : ""}`;

  // What stands in a noscript element is text here; it was escaped when the page was written.
  function details(row, column) {
    const holder = document.createElement("template");
    holder.innerHTML = find(`for-v${row.number}-${column - 1}`).textContent;
    const found = holder.content.firstElementChild;
    found.querySelector("summary").remove();
    for (const command of found.querySelectorAll(".command")) {
      const button = make("button", { type: "button", className: "copy", textContent: "Copy" });
      button.addEventListener("click", () => copy(command, button));
      command.before(button);
    }
    return [...found.childNodes];
  }

  async function copy(element, button) {
    try {
      await navigator.clipboard.writeText(element.textContent);
    } catch {
      // Where a page may not write to the clipboard, a selection can still be copied.
      const selection = getSelection();
      selection.selectAllChildren(element);
      document.execCommand("copy");
    }
    button.textContent = said.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; said.textContent = ""; }, 1500);
  }

  function others(row, current) {
    const list = make("ul", { className: "others" });
    let item = null, program = "";
    for (const [index, head] of heads.entries()) {
      const outcome = row.outcomes[index];
      if (!outcome) continue;
      const name = head.dataset.name, cut = name.lastIndexOf(", ");
      if (name.slice(0, cut) !== program) {
        program = name.slice(0, cut);
        list.append(item = make("li", {}, `${program}:`));
      }
      const link = make("a", { className: outcome, href: address(row, index + 1) },
        `${name.slice(cut + 2)} ${outcome}`);
      if (index + 1 === current) link.setAttribute("aria-current", "true");
      link.addEventListener("click", event => {
        event.preventDefault();
        show(row, index + 1);
      });
      item.append(" ", link);
    }
    return list;
  }

  function show(row, column) {
    const article = find(row.id), level = row.cells[0].querySelector(".level").cloneNode(true);
    const title = make("h2", { id: "panel-title", textContent: row.title, tabIndex: -1 });
    const about = article.querySelector(".about").cloneNode(true);
    const body = [title, make("p", { className: "id" }, level, " ",
      make("a", { href: address(row, column) }, make("code", { textContent: row.id }))), about];
    if (column && row.outcomes[column - 1]) {
      body.push(make("p", { className: "verdict" }, mark(row.outcomes[column - 1]),
        make("strong", { textContent: heads[column - 1].dataset.name })));
      body.push(...details(row, column));
      body.push(make("h5", { textContent: "The same case elsewhere" }), others(row, column));
    } else {
      body.push(article.querySelector(".results").cloneNode(true));
      body.push(make("h5", { textContent: "What happened in each" }), others(row, 0));
    }
    find("panel-body").replaceChildren(...body);
    settle(row, column);
    find("earlier").disabled = !finding(-1);
    find("later").disabled = !finding(1);
    if (!panel.open) panel.showModal();
    title.focus({ preventScroll: true });
    panel.scrollTop = 0;
    history.replaceState(null, "", address(row, column));
  }

  // The next finding in the order of reading, among what is shown.
  function finding(step) {
    const down = showing(), across = columns();
    const width = across.length, start = down.indexOf(at.row) * width + across.indexOf(at.column);
    for (let next = start + step; next >= 0 && next < down.length * width; next += step) {
      const row = down[Math.floor(next / width)], column = across[next % width];
      if (column && FINDINGS.includes(row.outcomes[column - 1])) return { row, column };
    }
    return null;
  }

  function go(step) {
    const next = finding(step);
    if (next) show(next.row, next.column);
  }

  find("earlier").addEventListener("click", () => go(-1));
  find("later").addEventListener("click", () => go(1));
  panel.addEventListener("keydown", event => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "p") go(-1);
    if (event.key === "n") go(1);
  });
  find("close").addEventListener("click", () => panel.close());
  panel.addEventListener("click", event => { if (event.target === panel) panel.close(); });
  panel.addEventListener("close", () => {
    history.replaceState(null, "", location.pathname + location.search);
    focus(at.row, at.column);
  });

  matrix.addEventListener("click", event => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    const target = where(event.target);
    if (!target || !event.target.closest("a")) return;
    event.preventDefault();
    show(target.row, target.column);
  });

  // From the summary to the first of the worst.
  document.querySelector(".summary").addEventListener("click", event => {
    const link = event.target.closest("a");
    if (!link) return;
    event.preventDefault();
    const [row, column] = link.hash.slice(2).split("-").map(Number);
    show(rows[row], column + 1);
  });

  function follow() {
    const [id, slug] = location.hash.slice(1).split("/");
    const row = place.get(decodeURIComponent(id));
    if (row) show(row, heads.findIndex(head => head.dataset.slug === slug) + 1);
  }
  addEventListener("hashchange", follow);

  // --- the filters --------------------------------------------------------------------------------

  const wanted = name =>
    new Set([...filters.querySelectorAll(`[name=${name}]:checked`)].map(box => box.value));

  function words(row) {
    const article = find(row.id);
    return row.words ??= [row.cells[0], ...article.querySelectorAll(".about, .results")]
      .map(each => each.textContent).join(" ").toLowerCase();
  }

  function filter() {
    const levels = wanted("level"), outcomes = wanted("outcome"), seen = columns();
    const search = find("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const some = seen.some(column => column && outcomes.has(row.outcomes[column - 1]));
      const hit = some && levels.has(row.level) && search.every(word => words(row).includes(word));
      row.row.hidden = !hit;
      shown += hit;
    }
    for (const body of matrix.tBodies) {
      body.hidden = ![...body.rows].some(row => row.dataset.level && !row.hidden);
    }
    if (at.row.row.hidden && shown) settle(showing()[0], at.column);
    find("shown").textContent = `${shown} of ${rows.length} cases`;
    const all = [...outcomes].sort().join() === [...available].filter(word => FINDINGS.includes(word)).sort().join();
    find("findings").setAttribute("aria-pressed", String(all));
  }

  const available = new Set([...filters.querySelectorAll("[name=outcome]")].map(box => box.value));

  function choose(program) {
    for (const head of matrix.tHead.querySelectorAll("[data-program]")) {
      head.hidden = program !== "" && head.dataset.program !== program;
    }
    for (const row of rows) {
      for (const [index, head] of heads.entries()) row.cells[index + 1].hidden = head.hidden;
    }
    if (at.column && heads[at.column - 1].hidden) settle(at.row, 0);
  }

  filters.addEventListener("input", event => {
    if (event.target.id === "program") choose(event.target.value);
    filter();
  });
  filters.addEventListener("submit", event => event.preventDefault());
  filters.addEventListener("reset", () => setTimeout(() => { choose(""); filter(); }));
  find("findings").addEventListener("click", event => {
    const only = event.target.getAttribute("aria-pressed") !== "true";
    for (const box of filters.querySelectorAll("[name=outcome]")) {
      box.checked = !only || FINDINGS.includes(box.value);
    }
    filter();
  });

  addEventListener("keydown", event => {
    const typing = event.target.closest("input, select, textarea");
    if (event.key === "/" && !typing && !panel.open && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      find("search").focus();
    }
    if (event.key === "Escape" && event.target.id === "search") {
      focus(at.row, at.column);
    }
  });

  // On paper, what is folded up cannot be opened.
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("#words > details:not([open])")]
      .filter(each => each.querySelector("article:not(.clean)"));
    for (const each of folded) each.open = true;
  });
  addEventListener("afterprint", () => { for (const each of folded) each.open = false; });

  filters.hidden = false;
  filter();
  follow();
})();
