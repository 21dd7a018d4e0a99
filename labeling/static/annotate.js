// Keys, evidence by selection, and drafts that outlive a reload. The page works without any of it.
"use strict";
(() => {
  const judge = document.getElementById("judge");
  const notice = document.getElementById("notice");
  const began = { away: 0, left: null };
  let selected = null; // the newest selection inside the answer, as a Range

  const all = (query, root = document) => Array.from(root.querySelectorAll(query));
  const isTyping = (element) => element.matches("textarea, input[type=password], input[type=text]");
  const say = (text, urgent = false) => {
    if (!notice) return;
    notice.textContent = text;
    notice.classList.toggle("urgent", urgent);
  };

  // Evidence -------------------------------------------------------------------------------------

  const marks = () => all(".markable input[name=evidence]");

  const addLine = (words, what, remove) => {
    const line = document.createElement("li");
    const shown = document.createElement("span");
    const strong = document.createElement("b");
    strong.textContent = what + " ";
    shown.append(strong, words.replace(/\s+/g, " ").trim().slice(0, 160));
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "×";
    button.setAttribute("aria-label", "Remove " + what);
    button.addEventListener("click", remove);
    line.append(shown, button);
    document.getElementById("evidence").append(line);
    return line;
  };

  const listMarks = () => {
    all("#evidence .auto").forEach((line) => line.remove());
    for (const box of marks().filter((box) => box.checked)) {
      const content = box.closest(".markable").querySelector(".post, summary");
      addLine(content.textContent, box.dataset.what, () => box.click()).classList.add("auto");
    }
  };

  const addSpan = (name) => {
    const own = all("input[name=evidence]").find((box) => box.value === name);
    if (own) {
      own.checked = true;
    } else {
      const [start, end] = name.split(":").slice(1).map(Number);
      const words = all("[data-text]")
        .map((block) => {
          const first = Number(block.dataset.start);
          const letters = Array.from(block.dataset.text);
          return letters.slice(Math.max(0, start - first), Math.max(0, end - first)).join("");
        })
        .filter(Boolean);
      const line = addLine("“" + words.join(" … ") + "”", "words", () => {
        line.remove();
        keep();
      });
      const box = document.createElement("input");
      Object.assign(box, { type: "hidden", name: "evidence", value: name });
      line.append(box);
    }
    listMarks();
    keep();
  };

  // A selection is of what is shown; evidence, of the text below it, which has other white space and
  // marks for lists. So the words are looked for in the block's text, nearest to where they stand.
  const squeeze = (text) => {
    const letters = [];
    const places = [];
    Array.from(text).forEach((letter, place) => {
      if (/\s/.test(letter)) return;
      letters.push(letter);
      places.push(place);
    });
    return { letters, places };
  };

  const findNear = (letters, sought, near) => {
    let best = -1;
    for (let at = 0; at + sought.length <= letters.length; at += 1) {
      if (sought.every((letter, n) => letters[at + n] === letter)) {
        if (best < 0 || Math.abs(at - near) < Math.abs(best - near)) best = at;
      }
    }
    return best;
  };

  const placeIn = (block, range) => {
    const inside = document.createRange();
    inside.selectNodeContents(block);
    const before = inside.cloneRange();
    if (block.contains(range.startContainer)) inside.setStart(range.startContainer, range.startOffset);
    if (block.contains(range.endContainer)) inside.setEnd(range.endContainer, range.endOffset);
    before.setEnd(inside.startContainer, inside.startOffset);
    const { letters, places } = squeeze(block.dataset.text);
    const sought = squeeze(inside.toString()).letters;
    if (!sought.length || !letters.length) return null;
    const near = squeeze(before.toString()).letters.length;
    for (const size of [sought.length, 40, 20, 10, 5]) {
      if (size > sought.length) continue;
      const first = findNear(letters, sought.slice(0, size), near);
      const last = findNear(letters, sought.slice(-size), near + sought.length - size);
      if (first >= 0 && last >= first) {
        const base = Number(block.dataset.start);
        return [base + places[first], base + places[last + size - 1] + 1];
      }
    }
    return [Number(block.dataset.start), Number(block.dataset.start) + Array.from(block.dataset.text).length];
  };

  const markSelection = () => {
    const blocks = all("[data-text]").filter((block) => selected.intersectsNode(block));
    const spans = blocks.map((block) => placeIn(block, selected)).filter(Boolean);
    if (!spans.length) return;
    addSpan(`span:${spans[0][0]}:${spans[spans.length - 1][1]}`);
    selected = null;
    window.getSelection().removeAllRanges();
    say("The selected words are marked.");
  };

  const watchSelection = () => {
    const selection = window.getSelection();
    if (selection.rangeCount && !selection.isCollapsed) {
      const range = selection.getRangeAt(0);
      const answer = document.querySelector(".answer");
      selected = range.intersectsNode(answer) ? range.cloneRange() : null;
    } else {
      selected = null;
    }
    document.getElementById("mark-selection").classList.toggle("ready", selected !== null);
  };

  // Drafts: kept in this window until they are saved ------------------------------------------------

  const draftKey = () => `draft ${judge.dataset.owner} ${location.pathname}${location.search}`;

  const keep = () => {
    const fields = Array.from(new FormData(judge)).filter(([name]) => name !== "seconds");
    sessionStorage.setItem(draftKey(), JSON.stringify(fields));
  };

  const bringBack = () => {
    const kept = sessionStorage.getItem(draftKey());
    if (!kept) return;
    const fields = JSON.parse(kept);
    const values = (name) => fields.filter(([field]) => field === name).map(([, value]) => value);
    const now = Array.from(new FormData(judge)).filter(([name]) => name !== "seconds");
    if (values("expected")[0] !== judge.elements.expected.value) {
      sessionStorage.removeItem(draftKey()); // it was saved meanwhile, or taken back
      return;
    }
    if (JSON.stringify(now) === kept) return;
    all("input[type=radio]", judge).forEach((box) => { box.checked = values(box.name).includes(box.value); });
    all("input[type=checkbox][name=evidence]").forEach((box) => { box.checked = values("evidence").includes(box.value); });
    const known = new Set(all("input[name=evidence]").map((box) => box.value));
    values("evidence").filter((name) => !known.has(name) && /^span:\d+:\d+$/.test(name)).forEach(addSpan);
    judge.elements.note.value = values("note")[0] || "";
    say("What you had not saved is back.");
  };

  // Keys ---------------------------------------------------------------------------------------------

  const cycle = (name, step) => {
    const boxes = all(`input[name=${name}]`, judge);
    const at = boxes.findIndex((box) => box.checked);
    const next = name === "cause" ? (at + step + boxes.length) % boxes.length
      : Math.min(boxes.length - 1, Math.max(0, at + step));
    boxes[next].click();
    say(boxes[next].parentElement.textContent.trim());
  };

  const move = (step) => {
    const boxes = marks();
    const at = boxes.indexOf(document.activeElement);
    const next = at < 0 ? (step > 0 ? 0 : boxes.length - 1) : at + step;
    if (!boxes[next]) return;
    boxes[next].focus({ preventScroll: true });
    boxes[next].closest(".markable").scrollIntoView({ block: "nearest" });
  };

  const markComment = (number) => {
    const box = all("input[data-comment]")[number - 1];
    if (!box) return say(`There is no comment ${number}.`);
    box.click();
    box.closest(".markable").scrollIntoView({ block: "nearest" });
    return say(`Comment ${number} ${box.checked ? "is marked" : "is no longer marked"}.`);
  };

  const markHere = () => {
    if (selected) return markSelection();
    const box = document.activeElement;
    if (marks().includes(box)) return box.click();
    return say("Move to a block with ] first, or select some words.");
  };

  const save = () => {
    if (judge.querySelector("input[name=label]:checked")) return judge.requestSubmit();
    return say("Choose a label first: o, c or t.", true);
  };

  const showGuideline = (link) => {
    const guideline = document.getElementById("guideline");
    guideline.hidden = !guideline.hidden;
    const state = guideline.hidden ? "closed" : "open";
    link.setAttribute("aria-expanded", String(!guideline.hidden));
    document.cookie = `sobert_guideline=${state}; path=/; max-age=31536000; samesite=strict`;
  };

  const judgeKeys = {
    "]": () => move(1), "[": () => move(-1), e: markHere,
    w: () => cycle("cause", 1), W: () => cycle("cause", -1),
    h: () => cycle("confidence", -1), l: () => cycle("confidence", 1),
    n: () => judge.elements.note.focus(),
  };

  const press = (event) => {
    if (judge && /^[1-9]$/.test(event.key)) return markComment(Number(event.key));
    if (judge && judgeKeys[event.key]) return judgeKeys[event.key]();
    const target = all("[data-key]").find((element) => element.dataset.key === event.key);
    if (target) return target.click();
    if (judge && event.key === "Enter") return save();
    return false;
  };

  document.addEventListener("keydown", (event) => {
    const on = event.target instanceof Element ? event.target : document.body;
    if (event.defaultPrevented || event.isComposing || event.metaKey || event.altKey) return;
    if (event.ctrlKey) {
      if (judge && event.key === "Enter") save();
      return;
    }
    if (event.key === "Escape") {
      all("details.keys[open]").forEach((keys) => keys.removeAttribute("open"));
      if (isTyping(on)) on.blur();
      return;
    }
    if (isTyping(on)) return;
    if (event.key === "Enter" && on.closest("a[href], button, summary")) return;
    if (event.repeat && !["[", "]"].includes(event.key)) return;
    if (press(event) !== false) event.preventDefault();
  });

  // Beginning ------------------------------------------------------------------------------------------

  all("form[action='/logout']").forEach((form) => form.addEventListener("submit", () => sessionStorage.clear()));
  if (!judge) return;

  const toggle = document.getElementById("guideline-toggle");
  toggle.setAttribute("aria-expanded", String(!document.getElementById("guideline").hidden));
  toggle.addEventListener("click", (event) => {
    event.preventDefault();
    showGuideline(toggle);
  });

  const marker = document.createElement("button");
  Object.assign(marker, { type: "button", id: "mark-selection", className: "quiet", textContent: "Mark selection" });
  marker.addEventListener("mousedown", (event) => event.preventDefault()); // keeps the selection
  marker.addEventListener("click", () => selected && markSelection());
  document.querySelector(".evidence h2").append(marker);
  document.addEventListener("selectionchange", watchSelection);

  document.addEventListener("change", (event) => {
    if (event.target.form !== judge) return;
    if (event.target.name === "evidence") listMarks();
    if (event.target.name === "label") say("");
    keep();
  });
  judge.addEventListener("input", keep);
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) began.left = performance.now();
    else if (began.left !== null) began.away += performance.now() - began.left;
  });
  judge.addEventListener("submit", () => {
    const spent = (performance.now() - began.away) / 1000;
    judge.elements.seconds.value = Math.max(0, spent).toFixed(3);
    say("Saving…");
  });
  listMarks();
  bringBack();
  listMarks();
})();
