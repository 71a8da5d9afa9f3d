
"use strict";
(() => {
  const { members, tokens: data } = JSON.parse(document.getElementById("data").textContent);
  const text = document.getElementById("text"), panel = document.getElementById("panel");
  const head = document.getElementById("panel-head"), help = document.getElementById("help");
  const shown = document.getElementById("shown"), status = document.getElementById("status");
  const spans = [...text.querySelectorAll(".token")], places = new Map(spans.map((span, i) => [span, i]));
  const looks = new Map([...document.querySelectorAll(".legend li")].map((li, i) => [i, li.querySelector(".sample").className.match(/hue\d/)?.[0] ?? ""]));
  let current = null, pinned = null, stop = 0;

  const make = (name, options = {}, ...children) => {
    const element = Object.assign(document.createElement(name), options);
    element.append(...children);
    return element;
  };
  const share = (p) => p.toFixed(3);
  const number = (value) => Number(value.toPrecision(3)).toString();

  function distribution(name, look, note, row, chosen) {
    const table = make("table", { className: `member ${look}` });
    table.append(make("caption", {}, make("span", { className: "dot" }), make("bdi", { textContent: name }), make("span", { className: "note", textContent: note })));
    for (const [token, p] of row) {
      const bar = make("span", { className: "bar" });
      bar.style.width = `${100 * p}%`;
      const line = make("tr", { className: token === chosen ? "chosen" : "" });
      line.append(make("th", { scope: "row", title: token }, make("bdi", { textContent: token })), make("td", {}, bar), make("td", { textContent: share(p) }));
      table.append(line);
    }
    if (!row.length) table.append(make("tr", {}, make("td", { colSpan: 3, textContent: "Not asked at this token." })));
    return table;
  }

  function chart(name, values) {
    const low = Math.min(...values), span = Math.max(...values) - low || 1, last = values.length - 1 || 1;
    const points = values.map((value, i) => `${((100 * i) / last).toFixed(2)} ${(36 - (32 * (value - low)) / span).toFixed(2)}`);
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", "0 0 100 40");
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("d", `M${points.join("L")}`);
    svg.append(path);
    const ends = `${number(values[0])} → ${number(values[values.length - 1])}`;
    return make("figure", {}, make("figcaption", {}, make("b", { textContent: name }), ends), svg);
  }

  function searchPath(token) {
    if (!token.c.length) {
      const alone = token.w[token.i] >= 0.99995;
      return make("p", { textContent: alone ? "Nothing was fused here: only the main model counts." : "No search: this fusion method has a closed form." });
    }
    const charts = make("div", { className: "courses" }, chart("Mean KL", token.c.map(([kl]) => kl)), chart("Probability", token.c.map(([, p]) => p)));
    const steps = make("table", { className: "steps" });
    steps.append(make("tr", {}, ...["Step", "Mean KL", "Probability"].map((name) => make("th", { scope: "col", textContent: name }))));
    token.c.forEach(([kl, p], i) => steps.append(make("tr", {}, ...[i, kl.toPrecision(4), p.toPrecision(4)].map((value) => make("td", { textContent: value })))));
    const title = make("h3", { textContent: `The search, ${token.c.length - 1} ${token.c.length === 2 ? "step" : "steps"}` });
    return make("div", {}, title, charts, make("details", {}, make("summary", { textContent: "Step by step" }), steps));
  }

  /* What a member expects by its readings at earlier tokens, and what it abstained from. */
  function earlier(straddling, abstained) {
    const lines = straddling.map(([text, part, back]) =>
      make("p", { className: "earlier" }, make("bdi", { textContent: text }), ` ${share(part)}, begun ${back} ${back === 1 ? "token" : "tokens"} back`));
    if (abstained >= 0.005) lines.push(make("p", { className: "earlier", textContent: `abstains with ${share(abstained)} of its weight` }));
    return lines;
  }

  function show(place) {
    if (current !== null) spans[current].classList.remove("current");
    current = place;
    help.hidden = place !== null;
    shown.hidden = place === null;
    if (place === null) return head.replaceChildren("One token");
    const token = data[place];
    spans[place].classList.add("current");
    const where = `${pinned === place ? "pinned, " : ""}${place + 1} of ${data.length}`;
    head.replaceChildren(make("bdi", { textContent: token.t }), make("span", { textContent: share(token.p) }), make("span", { className: "where", textContent: where }));
    shown.replaceChildren(
      make("p", {}, ...token.r.map((part, i) => (i % 2 ? make("bdi", { textContent: part }) : part))),
      distribution("fused", "", " all of them together", token.f, token.t),
      ...members.flatMap((name, i) => [
        distribution(name, looks.get(i), ` weight ${token.w[i].toFixed(2)}${i === token.i ? ", main model" : ""}`, token.m[i], token.t),
        ...earlier(token.s[i], token.a[i]),
      ]),
      searchPath(token),
    );
    panel.scrollTop = 0;
  }

  function pin(place) {
    if (pinned !== null) spans[pinned].setAttribute("aria-pressed", "false");
    pinned = place;
    if (place !== null) spans[place].setAttribute("aria-pressed", "true");
    show(place ?? current);
  }

  function focus(place) {
    spans[stop].tabIndex = -1;
    stop = Math.max(0, Math.min(spans.length - 1, place));
    spans[stop].tabIndex = 0;
    spans[stop].focus();
  }

  /* The token nearest on the line above (-1) or below (1). */
  function across(place, way) {
    const from = spans[place].getClientRects()[0], middle = (from.left + from.right) / 2;
    let best = place, line = null, least = Infinity;
    for (let i = place + way; spans[i]; i += way) {
      const box = spans[i].getClientRects()[0];
      if (!box || way * (box.top - from.top) < from.height / 2) continue;
      line ??= box.top;
      if (Math.abs(box.top - line) > from.height / 2) break;
      const distance = Math.abs((box.left + box.right) / 2 - middle);
      if (distance < least) [best, least] = [i, distance];
    }
    return best;
  }

  /* Whether the paragraph that a token is in runs from right to left: its first letter with a direction tells. */
  function leftward(place) {
    let first = place, words = spans[place].textContent;
    while (first > 0 && !spans[first - 1].textContent.includes("\n")) words = spans[--first].textContent + words;
    for (let i = place + 1; spans[i] && !/\p{L}/u.test(words); i += 1) words += spans[i].textContent;
    return /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u.test(words.match(/\p{L}/u)?.[0] ?? "");
  }

  const at = (event) => places.get(event.target.closest?.(".token"));
  const look = (place) => { if (place !== undefined && pinned === null && place !== current) show(place); };
  text.addEventListener("pointerover", (event) => look(at(event)));
  text.addEventListener("focusin", (event) => {
    const place = at(event);
    if (place === undefined) return;
    spans[stop].tabIndex = -1;
    stop = place;
    spans[stop].tabIndex = 0;
    look(place);
    status.textContent = data[place].r.join("");
  });
  text.addEventListener("click", (event) => {
    const place = at(event);
    if (place === undefined || String(getSelection())) return;
    focus(place);
    pin(pinned === place ? null : place);
  });
  text.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !spans.length) return;
    const forth = leftward(stop) ? -1 : 1;
    const moves = {
      ArrowRight: () => focus(stop + forth), ArrowLeft: () => focus(stop - forth),
      ArrowDown: () => focus(across(stop, 1)), ArrowUp: () => focus(across(stop, -1)),
      Home: () => focus(0), End: () => focus(spans.length - 1),
      Enter: () => pin(pinned === stop ? null : stop), " ": () => pin(pinned === stop ? null : stop),
    };
    if (!moves[event.key]) return;
    event.preventDefault();
    moves[event.key]();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    if (pinned === null) show(null);
    else pin(null);
  });
})();
