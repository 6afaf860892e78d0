"use strict";
(() => {
  const root = document.documentElement, tip = document.getElementById("tip");
  const theme = document.getElementById("theme"), order = ["system", "light", "dark"];
  let at = 0;
  theme.addEventListener("click", () => {
    at = (at + 1) % 3;
    if (at) root.dataset.theme = order[at]; else delete root.dataset.theme;
    theme.textContent = "◐ Colours: " + order[at];
    theme.setAttribute("aria-label", "Colours: " + (at ? order[at] : "as the system"));
  });
  const tables = document.getElementById("tables"), folded = [...document.querySelectorAll("details")];
  const open = (yes) => folded.forEach((d) => { d.open = yes; });
  if (!folded.length) tables.hidden = true;
  tables.addEventListener("click", () => {
    const yes = tables.getAttribute("aria-pressed") !== "true";
    open(yes);
    tables.setAttribute("aria-pressed", String(yes));
    tables.textContent = yes ? "Close all tables" : "Open all tables";
  });
  addEventListener("beforeprint", () => open(true));
  const show = (point) => {
    hide();
    point.classList.add("on");
    tip.textContent = point.dataset.tip;
    tip.hidden = false;
    const box = point.getBoundingClientRect(), mine = tip.getBoundingClientRect();
    const x = Math.min(Math.max(8, box.left + box.width / 2 - mine.width / 2), innerWidth - mine.width - 8);
    const above = box.top - mine.height - 10;
    tip.style.left = x + "px";
    tip.style.top = (above > 4 ? above : box.bottom + 10) + "px";
  };
  const hide = () => {
    tip.hidden = true;
    document.querySelectorAll(".pt.on").forEach((p) => p.classList.remove("on"));
  };
  document.querySelectorAll("svg.chart").forEach((chart) => {
    let now = -1;
    const points = () => [...chart.querySelectorAll(".pt[data-tip]:not(.off)")]
      .map((p) => [p.getBoundingClientRect().left, p]).sort((a, b) => a[0] - b[0]).map((pair) => pair[1]);
    chart.addEventListener("pointerover", (e) => { if (e.target.dataset.tip) show(e.target); });
    chart.addEventListener("pointerdown", (e) => { if (e.target.dataset.tip) show(e.target); });
    chart.addEventListener("pointerout", hide);
    chart.addEventListener("blur", hide);
    chart.addEventListener("keydown", (e) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[e.key];
      if (e.key === "Escape") hide();
      if (!step) return;
      e.preventDefault();
      const all = points();
      if (!all.length) return;
      now = Math.min(Math.max(now + step, 0), all.length - 1);
      show(all[now]);
    });
  });
  document.querySelectorAll("button.series").forEach((button) => {
    const figure = button.closest("figure");
    button.addEventListener("click", () => {
      const on = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(on));
      figure.querySelectorAll("svg.chart [data-series]").forEach((mark) => {
        if (mark.dataset.series === button.dataset.for) mark.classList.toggle("off", !on);
      });
    });
  });
  document.querySelectorAll("table.live").forEach((table) => {
    const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
    const rows = [...body.rows].map((tr, first) => ({ tr, first, texts: [...tr.cells].map((td) => td.textContent) }));
    const sift = table.parentElement.previousElementSibling, [typed, picked] = sift.querySelectorAll("input,select");
    const filter = () => {
      const words = typed.value.toLowerCase().split(/\s+/).filter(Boolean), column = Number(picked.dataset.column);
      let n = 0;
      rows.forEach((row) => {
        const all = row.texts.join(" ").toLowerCase();
        const yes = words.every((word) => all.includes(word)) && (!picked.value || row.texts[column] === picked.value);
        row.tr.hidden = !yes;
        n += yes;
      });
      sift.querySelector("output").textContent = n.toLocaleString("en") + (n === 1 ? " row" : " rows");
    };
    typed.addEventListener("input", filter);
    picked.addEventListener("change", filter);
    sift.addEventListener("submit", (e) => e.preventDefault());
    const sort = (at) => {
      const up = heads[at].getAttribute("aria-sort") !== "ascending", numbers = heads[at].classList.contains("n");
      heads.forEach((th) => th.removeAttribute("aria-sort"));
      heads[at].setAttribute("aria-sort", up ? "ascending" : "descending");
      const keyed = rows.map((row) => {
        const text = row.texts[at];
        return { row, none: text === "-", key: numbers ? Number(text.replaceAll(",", "")) : text };
      });
      const order = new Intl.Collator("en", { numeric: true }).compare;
      keyed.sort((a, b) => a.none - b.none || (a.none ? 0 : (up ? 1 : -1) *
        (numbers ? a.key - b.key : order(a.key, b.key))) || a.row.first - b.row.first);
      body.replaceChildren(...keyed.map((one) => one.row.tr));
    };
    heads.forEach((th, at) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = th.textContent;
      th.replaceChildren(button);
      button.addEventListener("click", () => sort(at));
    });
  });
  addEventListener("scroll", hide, { passive: true });
})();
