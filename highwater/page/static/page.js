// What plain HTML cannot do here: tooltips on hover and focus, arrow keys between cells, choosing cells, and leaving the
// frame in which Airflow shows this page. Without JavaScript every cell is still a link, and every form a form.
(() => {
  const within = (node, selector) => (node instanceof Element ? node.closest(selector) : null);

  // Airflow's sandboxed frame blocks top-level links; the parent window has the same origin and can follow them.
  document.addEventListener("click", (event) => {
    const link = within(event.target, 'a[target="_top"]');
    if (!link || window.parent === window || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const outside = window.parent.document.createElement("a");
    outside.href = link.href;
    window.parent.document.body.append(outside);
    outside.click();
    outside.remove();
  });

  // The tooltip: a cell's title, shown without delay and also on focus.
  const tip = document.createElement("div");
  tip.id = "tip";
  tip.role = "tooltip";
  tip.hidden = true;
  document.body.append(tip);
  const show = (cell) => {
    if (cell.title) {
      cell.setAttribute("aria-label", cell.title);
      cell.removeAttribute("title");
    }
    tip.textContent = cell.getAttribute("aria-label");
    tip.hidden = false;
    const box = cell.getBoundingClientRect();
    const left = Math.min(box.left, document.documentElement.clientWidth - tip.offsetWidth - 12);
    const below = box.bottom + tip.offsetHeight + 8 < window.innerHeight;
    tip.style.left = `${Math.max(8, left) + window.scrollX}px`;
    tip.style.top = `${(below ? box.bottom + 6 : box.top - tip.offsetHeight - 6) + window.scrollY}px`;
  };
  const hide = () => { tip.hidden = true; };
  document.addEventListener("click", hide);
  for (const [begin, end] of [["pointerover", "pointerout"], ["focusin", "focusout"]]) {
    document.addEventListener(begin, (event) => { const cell = within(event.target, "a.c"); if (cell) show(cell); });
    document.addEventListener(end, (event) => { if (within(event.target, "a.c")) hide(); });
  }

  // Choosing cells: shift-click or the space bar; shift and an arrow key extends the choice. All are of one dataset.
  const chosen = { dataset: null, windows: new Set() };
  const bar = () => document.getElementById("chosen");
  const dataset_of = (cell) => cell.closest("[data-dataset]")?.dataset.dataset;
  const key_of = (cell) => cell.dataset.w;
  const draw = () => {
    for (const cell of document.querySelectorAll("a.c.chosen")) cell.classList.remove("chosen");
    for (const cell of document.querySelectorAll(`[data-dataset="${chosen.dataset}"] a.c`)) {
      cell.classList.toggle("chosen", chosen.windows.has(key_of(cell)));
    }
    const form = bar();
    if (!form) return;
    form.hidden = chosen.windows.size === 0;
    form.querySelector("[name=dataset]").value = chosen.dataset ?? "";
    form.querySelector("[name=chosen]").value = [...chosen.windows].sort().join(",");
    form.querySelector("output").textContent = `${chosen.windows.size} chosen of ${chosen.dataset}`;
  };
  const choose = (cell, on) => {
    const dataset = dataset_of(cell);
    if (dataset !== chosen.dataset) { chosen.dataset = dataset; chosen.windows.clear(); }
    const key = key_of(cell);
    if (on ?? !chosen.windows.has(key)) chosen.windows.add(key); else chosen.windows.delete(key);
    last = cell;
    draw();
  };
  let last = null;
  const cells_beside = (cell) => [...cell.closest("[data-dataset] .strip, [data-dataset] table").querySelectorAll("a.c")]
    .sort((one, other) => (one.dataset.w < other.dataset.w ? -1 : 1));
  const choose_up_to = (cell) => {
    const row = cells_beside(cell);
    const from = last && last.isConnected && dataset_of(last) === dataset_of(cell) ? row.indexOf(last) : -1;
    if (from < 0) { choose(cell); return; }
    const to = row.indexOf(cell);
    for (const between of row.slice(Math.min(from, to), Math.max(from, to) + 1)) choose(between, true);
    last = cell;
  };

  document.addEventListener("click", (event) => {
    const cell = within(event.target, "a.c");
    if (cell && bar() && (event.shiftKey || document.body.classList.contains("choosing"))) {
      event.preventDefault();
      if (event.shiftKey) choose_up_to(cell); else choose(cell);
    } else if (cell && !event.ctrlKey && !event.metaKey) {
      const detail = cell.closest("[data-dataset]")?.querySelector(".detail");
      if (!detail) return;
      event.preventDefault();
      htmx.ajax("GET", cell.href, { target: detail, swap: "innerHTML" });
    } else if (within(event.target, "[data-choosing]")) {
      const on = document.body.classList.toggle("choosing");
      within(event.target, "[data-choosing]").setAttribute("aria-pressed", on);
    } else if (within(event.target, "[data-none]")) {
      chosen.windows.clear();
      last = null;
      draw();
    }
  });

  // Arrow keys: left and right to the next window, up and down to the next line of the table.
  document.addEventListener("keydown", (event) => {
    const cell = within(event.target, "a.c");
    if (!cell) return;
    if (event.key === " " && bar()) { event.preventDefault(); choose(cell); return; }
    if (event.key === "Escape") { hide(); return; }
    const steps = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    let next = null;
    if (steps) {
      const row = cells_beside(cell);
      next = row[row.indexOf(cell) + steps];
    } else if (event.key === "ArrowUp" || event.key === "ArrowDown") {
      const line = cell.closest("tr");
      const other = event.key === "ArrowUp" ? line?.previousElementSibling : line?.nextElementSibling;
      next = other?.children[cell.closest("td").cellIndex]?.querySelector("a.c");
    }
    if (!next) return;
    event.preventDefault();
    cell.tabIndex = -1;
    next.tabIndex = 0;
    if (event.shiftKey && bar()) { if (!chosen.windows.size) choose(cell, true); choose(next, true); }
    next.focus();
  });

  // One tab stop per row of cells: the newest, which a narrow window also shows first.
  const settle = () => {
    for (const row of document.querySelectorAll(".strip, table.cells")) {
      const cells = row.querySelectorAll("a.c");
      cells.forEach((cell) => { cell.tabIndex = -1; });
      const newest = cells[cells.length - 1];
      if (newest) newest.tabIndex = 0;
    }
    for (const box of document.querySelectorAll(".scroll:has(.cells)")) box.scrollLeft = box.scrollWidth;
    draw();
  };
  settle();

  // Polling pauses while the page is hidden, or while an update would discard what the user is typing.
  let kept = null;
  document.addEventListener("htmx:beforeRequest", (event) => {
    const part = event.detail.elt;
    if (part.id !== "now" && part.id !== "calendar" && part.id !== "backfill") return;
    if (document.hidden || part.querySelector("details[open] form, input:focus")) event.preventDefault();
  });
  document.addEventListener("htmx:beforeSwap", (event) => {
    const part = event.detail.target;
    // The warehouse is unavailable, or the session has expired: keep what is shown, and show the error.
    if (event.detail.xhr.status >= 400 && (part.id === "now" || part.id === "calendar" || part.id === "backfill")) {
      event.detail.shouldSwap = false;
      const problem = document.getElementById("poll-problem");
      problem.textContent = new DOMParser().parseFromString(event.detail.xhr.responseText, "text/html").body.textContent.trim();
      problem.hidden = false;
      return;
    }
    if (part.id === "now" || part.id === "calendar") document.getElementById("poll-problem").hidden = true;
    const cell = within(document.activeElement, "a.c");
    kept = cell && part.contains(cell) ? [dataset_of(cell), cell.dataset.w] : null;
  });
  document.addEventListener("htmx:afterSettle", () => {
    settle();
    if (!kept) return;
    document.querySelector(`[data-dataset="${kept[0]}"] a.c[data-w="${kept[1]}"]`)?.focus();
    kept = null;
  });
})();
