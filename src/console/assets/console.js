// The console works without this script. It refreshes what is marked as live, and keeps two choices of the reader.
"use strict";

const policy = window.trustedTypes
  ? trustedTypes.createPolicy("fragment", { createHTML: (text) => text })
  : { createHTML: (text) => text };

const remembered = (name) => {
  try { return localStorage.getItem(name); } catch { return null; }
};

const remember = (name, value) => {
  try { localStorage.setItem(name, value); } catch { /* a browser that keeps nothing */ }
};

// Before the page is drawn, so that it does not change its colours.
if (remembered("theme")) document.documentElement.dataset.theme = remembered("theme");

const pad = (number, width = 2) => String(number).padStart(width, "0");

function showTimes(root) {
  const isLocal = remembered("zone") === "local";
  for (const element of root.querySelectorAll("time[datetime]")) {
    if (!element.dataset.utc) element.dataset.utc = element.textContent;
    const at = new Date(element.dateTime);
    if (!isLocal || isNaN(at)) {
      element.textContent = element.dataset.utc;
      continue;
    }
    const offset = -at.getTimezoneOffset();
    const zone = `${offset < 0 ? "-" : "+"}${pad(Math.floor(Math.abs(offset) / 60))}:${pad(Math.abs(offset) % 60)}`;
    element.textContent =
      `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())} ` +
      `${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}.${pad(at.getMilliseconds(), 3)} ${zone}`;
  }
}

class Live {
  constructor(element) {
    this.element = element;
    this.every = Number(element.dataset.every) * 1000;
    this.answered = Date.now();
    this.etag = null;
    this.next();
  }

  next() {
    setTimeout(() => this.look(), this.every);
  }

  async look() {
    if (document.hidden) return this.next();
    try {
      const headers = this.etag ? { "If-None-Match": this.etag } : {};
      const answer = await fetch(this.element.dataset.live, { headers, credentials: "same-origin", redirect: "manual" });
      if (answer.status === 401) {
        location.assign("/login");
        return;
      }
      if (answer.status === 200 && !this.isInUse()) {
        const text = await answer.text();
        this.replace(text);
        this.etag = answer.headers.get("ETag");
      }
      if (answer.status === 200 || answer.status === 304) this.answered = Date.now();
    } catch { /* the sentence says for how long there was no answer */ }
    this.next();
  }

  // What somebody reads or has focused stays.
  isInUse() {
    const selection = getSelection();
    const isSelected = !selection.isCollapsed && this.element.contains(selection.anchorNode);
    return isSelected || (this.element.contains(document.activeElement) && document.activeElement !== document.body);
  }

  replace(text) {
    const open = [...this.element.querySelectorAll("details[open][id]")].map((details) => details.id);
    const status = this.element.querySelector("[role=status]")?.textContent;
    this.element.innerHTML = policy.createHTML(text);
    for (const id of open) document.getElementById(id)?.setAttribute("open", "");
    const said = this.element.querySelector("[role=status]");
    // A screen reader hears the state when its word changes, not each second.
    if (said && said.textContent === status) said.removeAttribute("role");
    showTimes(this.element);
    this.tell();
  }

  tell() {
    const seconds = Math.round((Date.now() - this.answered) / 1000);
    const text = document.hidden ? "paused" : seconds > this.every / 1000 + 5 ? `no answer for ${seconds} s` : `live · ${seconds} s ago`;
    for (const fresh of this.element.querySelectorAll("[data-fresh]")) fresh.textContent = text;
    this.element.classList.toggle("stale", seconds > this.every / 1000 + 5);
  }
}

function switches() {
  for (const button of document.querySelectorAll("[data-switch]")) {
    button.hidden = false;
    const show = () => {
      if (button.dataset.switch === "zone") {
        const isLocal = remembered("zone") === "local";
        button.setAttribute("aria-pressed", String(isLocal));
      } else {
        const theme = remembered("theme") || "auto";
        button.textContent = `theme: ${theme}`;
        button.setAttribute("aria-pressed", String(theme !== "auto"));
      }
    };
    button.addEventListener("click", () => {
      if (button.dataset.switch === "zone") {
        remember("zone", remembered("zone") === "local" ? "utc" : "local");
        showTimes(document);
      } else {
        const order = ["auto", "light", "dark"];
        const next = order[(order.indexOf(remembered("theme") || "auto") + 1) % order.length];
        remember("theme", next);
        document.documentElement.dataset.theme = next;
      }
      show();
    });
    show();
  }
}

document.addEventListener("DOMContentLoaded", () => {
  showTimes(document);
  switches();
  const lives = [...document.querySelectorAll("[data-live]")].map((element) => new Live(element));
  setInterval(() => lives.forEach((live) => live.tell()), 1000);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && document.activeElement instanceof HTMLElement) document.activeElement.blur();
  });
});
