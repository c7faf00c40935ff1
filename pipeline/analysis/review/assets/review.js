
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const sheets = [...document.querySelectorAll(".sheet")];
  const PREFIX = "pagesight-review:";
  const marks = new Map();  // by the reading's key: {verdict, note, marked_at}
  let current = null;

  // -- marks: kept in this browser, by what was shown

  function trouble(error) {
    const place = byId("trouble");
    place.textContent = `This browser does not keep marks here (${error.name}). Export them before you close the page.`;
    place.hidden = false;
  }

  function recall(key) {
    try {
      const kept = localStorage.getItem(PREFIX + key);
      return kept ? JSON.parse(kept) : null;
    } catch (error) {
      trouble(error);
      return null;
    }
  }

  function keep(key, mark) {
    try {
      if (mark) localStorage.setItem(PREFIX + key, JSON.stringify(mark));
      else localStorage.removeItem(PREFIX + key);
    } catch (error) {
      trouble(error);
    }
  }

  function change(reading, changes) {
    const key = reading.dataset.key;
    const mark = { verdict: null, note: "", ...marks.get(key), ...changes, marked_at: new Date().toISOString() };
    const isEmpty = !mark.verdict && !mark.note;
    if (isEmpty) marks.delete(key);
    else marks.set(key, mark);
    keep(key, isEmpty ? null : mark);
    show(reading);
    count();
  }

  function show(reading) {
    const mark = marks.get(reading.dataset.key);
    for (const button of reading.querySelectorAll("[data-verdict]")) {
      button.setAttribute("aria-pressed", String(mark?.verdict === button.dataset.verdict));
    }
    const note = reading.querySelector(".note");
    if (document.activeElement !== note) note.value = mark?.note ?? "";
  }

  function judge(reading, verdict) {
    const isSame = marks.get(reading.dataset.key)?.verdict === verdict;
    change(reading, { verdict: isSame ? null : verdict });
  }

  function exportMarks() {
    const told = [];
    for (const reading of document.querySelectorAll(".reading")) {
      const mark = marks.get(reading.dataset.key);
      if (mark) told.push({ ...JSON.parse(reading.dataset.identity), ...mark });
    }
    const whole = { ...JSON.parse(document.body.dataset.export), exported_at: new Date().toISOString(), marks: told };
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(whole, null, 2)], { type: "application/json" }));
    link.download = "review-marks.json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  }

  // -- filters

  const texts = new WeakMap();

  function textOf(sheet) {
    if (!texts.has(sheet)) texts.set(sheet, sheet.textContent.normalize("NFC").toLowerCase());
    return texts.get(sheet);
  }

  function verdicts(sheet) {
    return [...sheet.querySelectorAll(".reading")].map((one) => marks.get(one.dataset.key)?.verdict ?? "none");
  }

  function filter() {
    const words = byId("words").value.normalize("NFC").toLowerCase().split(/\s+/).filter(Boolean);
    const kind = byId("kind").value, language = byId("language").value, mark = byId("mark").value;
    const suspect = byId("suspect").checked;
    for (const sheet of sheets) {
      sheet.hidden = !(
        (!kind || sheet.dataset.kind === kind) &&
        (!language || sheet.dataset.language === language) &&
        (!suspect || "suspect" in sheet.dataset) &&
        (!mark || verdicts(sheet).includes(mark)) &&
        words.every((word) => textOf(sheet).includes(word))
      );
    }
    if (!current || current.hidden) {
      setCurrent(sheets.find((sheet) => !sheet.hidden) ?? null);
      scrollTo(0, 0);
    }
    count();
  }

  function count() {
    const shown = sheets.filter((sheet) => !sheet.hidden).length;
    const verdict = (name) => [...document.querySelectorAll(".reading")].filter(
      (one) => marks.get(one.dataset.key)?.verdict === name).length;
    byId("count").textContent =
      `${shown} of ${sheets.length} shown · ${verdict("accepted")} accepted · ${verdict("rejected")} rejected`;
    byId("nothing").hidden = shown > 0;
  }

  // -- moving

  function setCurrent(sheet) {
    current?.classList.remove("current");
    current = sheet;
    current?.classList.add("current");
  }

  function go(step) {
    const shown = sheets.filter((sheet) => !sheet.hidden);
    const at = shown.indexOf(current);
    const next = shown[at < 0 ? 0 : Math.min(shown.length - 1, Math.max(0, at + step))];
    if (!next) return;
    setCurrent(next);
    next.scrollIntoView({ block: "start" });
  }

  function enlarge(sheet) {
    sheet.classList.toggle("enlarged");
    sheet.scrollIntoView({ block: "start" });
  }

  function onKey(event) {
    const field = event.target.closest("input:not([type=checkbox]), select");
    if (event.key === "Escape" && field) return field.blur();
    if (field || event.ctrlKey || event.metaKey || event.altKey) return undefined;
    const readings = current ? [...current.querySelectorAll(".reading")] : [];
    const reading = event.shiftKey && readings.length > 1 ? readings[1] : readings[0];
    const deeds = {
      j: () => go(1),
      k: () => go(-1),
      a: () => reading && judge(reading, "accepted"),
      r: () => reading && judge(reading, "rejected"),
      n: () => reading?.querySelector(".note").focus(),
      z: () => current && enlarge(current),
      "/": () => byId("words").focus(),
    };
    const deed = deeds[event.key.toLowerCase()];
    if (!deed) return undefined;
    event.preventDefault();
    return deed();
  }

  // -- begin

  for (const reading of document.querySelectorAll(".reading")) {
    const mark = recall(reading.dataset.key);
    if (mark) marks.set(reading.dataset.key, mark);
    show(reading);
  }
  // Whatever crosses a line in the upper third of the window is the page that keys are about.
  const watcher = new IntersectionObserver(
    (entries) => entries.forEach((entry) => entry.isIntersecting && setCurrent(entry.target)),
    { rootMargin: "-30% 0px -69% 0px" },
  );
  sheets.forEach((sheet) => watcher.observe(sheet));
  setCurrent(sheets[0] ?? null);
  document.querySelector("main").addEventListener("click", (event) => {
    const sheet = event.target.closest(".sheet");
    if (!sheet) return;
    setCurrent(sheet);
    const button = event.target.closest("[data-verdict]");
    if (button) judge(button.closest(".reading"), button.dataset.verdict);
    if (event.target.closest(".picture")) enlarge(sheet);
  });
  document.querySelector("main").addEventListener("input", (event) => {
    if (event.target.matches(".note")) change(event.target.closest(".reading"), { note: event.target.value });
  });
  document.querySelector(".bar").addEventListener("input", filter);
  document.querySelector(".bar").addEventListener("submit", (event) => event.preventDefault());
  document.addEventListener("keydown", onKey);
  byId("export").addEventListener("click", exportMarks);
  filter();
})();
