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
  addEventListener("scroll", hide, { passive: true });
})();
