"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // Colors: those of the system until the button is pressed, then the reader's choice.
  const root = document.documentElement;
  const stored = { get: () => { try { return localStorage.getItem("seewhy-theme"); } catch { return null; } },
                   set: (value) => { try { localStorage.setItem("seewhy-theme", value); } catch { /* a page without storage */ } } };
  const dark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  if (["light", "dark"].includes(stored.get())) root.dataset.theme = stored.get();
  document.getElementById("theme").addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    stored.set(root.dataset.theme);
  });

  // Tables: a heading becomes a button; first click best first, second click the other way.
  const valueOf = (cell, table) => {
    if (cell.dataset.value !== undefined) return cell.dataset.value;
    const text = (table.dataset.figure === "median" && cell.dataset.median) || cell.dataset.mean;
    return text === undefined ? null : Number(text);
  };
  const sortBy = (table, column, direction) => {
    const body = table.tBodies[0];
    const sign = direction === "ascending" ? 1 : -1;
    const rows = [...body.rows].map((row) => [valueOf(row.cells[column], table), row]);
    rows.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null); // what was not measured stays last
      return sign * (typeof a === "string" ? a.localeCompare(b) : a - b);
    });
    body.append(...rows.map(([, row]) => row));
    const headings = [...table.tHead.rows].at(-1).cells;
    [...headings].forEach((heading, i) => {
      if (i === column) heading.setAttribute("aria-sort", direction);
      else heading.removeAttribute("aria-sort");
    });
  };
  for (const table of all("table[data-sortable]")) {
    [...[...table.tHead.rows].at(-1).cells].forEach((heading, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...heading.childNodes);
      heading.append(button);
      button.addEventListener("click", () => {
        const first = ["lower", "name"].includes(heading.dataset.better) ? "ascending" : "descending";
        const other = first === "ascending" ? "descending" : "ascending";
        sortBy(table, column, heading.getAttribute("aria-sort") === first ? other : first);
      });
    });
  }

  // Leaderboard: mean or median, and which families are shown.
  for (const section of all("section")) {
    const table = section.querySelector("table.board");
    const tables = all("table.board", section); // the first, and its parts on paper
    for (const radio of all(".controls input[type=radio]", section)) {
      radio.addEventListener("change", () => {
        for (const each of tables) each.dataset.figure = radio.value;
        const sorted = [...[...table.tHead.rows].at(-1).cells].findIndex((heading) => heading.hasAttribute("aria-sort"));
        if (sorted >= 0) sortBy(table, sorted, [...table.tHead.rows].at(-1).cells[sorted].getAttribute("aria-sort"));
      });
      if (radio.checked) for (const each of tables) each.dataset.figure = radio.value; // a reload may restore the reader's choice
    }
    const show = (box) => {
      for (const cell of tables.flatMap((each) => all("[data-family]", each))) if (cell.dataset.family === box.dataset.family) cell.hidden = !box.checked;
    };
    for (const box of all(".controls input[type=checkbox]", section)) {
      box.addEventListener("change", () => show(box));
      show(box);
    }
  }

  // A box that scrolls sideways says so, until its end is reached.
  for (const box of all(".scroll")) {
    const hint = document.createElement("span");
    hint.className = "more";
    hint.setAttribute("aria-hidden", "true");
    hint.textContent = "more to the right: scroll →";
    box.before(hint);
    const look = () => {
      const more = box.scrollLeft + box.clientWidth < box.scrollWidth - 4;
      box.toggleAttribute("data-more", more);
      hint.hidden = !more;
    };
    box.addEventListener("scroll", look, { passive: true });
    new ResizeObserver(look).observe(box);
    if (box.firstElementChild) new ResizeObserver(look).observe(box.firstElementChild);
    look();
  }

  // One of several: the select shows its part and hides the others.
  for (const select of all("select[data-shows]")) {
    const show = () => {
      for (const part of all("[data-of]")) if (part.dataset.of === select.dataset.shows) part.hidden = part.dataset.value !== select.value;
    };
    select.addEventListener("change", show);
    show();
  }

  // Curves: picked explainers stand out in all charts of the section; the pointer picks one for as long as it stays.
  for (const legend of all(".legend")) {
    const charts = legend.parentElement.querySelector("[data-charts]");
    const buttons = all("button", legend);
    const picked = new Set();
    const draw = (pointed) => {
      const shown = pointed === undefined ? picked : new Set([...picked, pointed]);
      charts.classList.toggle("picking", shown.size > 0);
      for (const series of all(".series", charts)) series.classList.toggle("picked", shown.has(series.dataset.e));
    };
    const toggle = (e) => {
      if (!picked.delete(e)) picked.add(e);
      for (const button of buttons) button.setAttribute("aria-pressed", String(picked.has(button.dataset.e)));
      draw();
    };
    for (const item of [...buttons, ...all(".series", charts)]) {
      item.addEventListener("click", () => toggle(item.dataset.e));
      item.addEventListener("pointerenter", () => draw(item.dataset.e));
      item.addEventListener("pointerleave", () => draw());
    }
  }
})();
