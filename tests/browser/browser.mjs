// A headless Chromium, and what it noticed: other hosts, errors, accessibility, layout.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

// Where tests/services/install.sh put them.
const require = createRequire(path.join(process.env.BROWSER, "package.json"));
const puppeteer = require("puppeteer-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

// One process of the browser, whose visitors share no cookies.
export class Browser {
  static async start() {
    const args = ["--no-sandbox", "--disable-dev-shm-usage"];
    const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
    return new Browser(await puppeteer.launch({ executablePath, headless: true, args }));
  }

  constructor(browser) {
    this.browser = browser;
  }

  // Somebody new in front of the console at `base`.
  async visitor(base) {
    return new Visitor(await this.browser.createBrowserContext(), base);
  }

  close() {
    return this.browser.close();
  }
}

// Somebody who looks at the console in tabs that share a session.
export class Visitor {
  constructor(context, base) {
    this.context = context;
    this.base = base;
    this.host = new URL(base).host;
    this.faults = [];
  }

  // Another tab. What it asks of other hosts, and what it says on the browser's console, are faults; what has one of
  // the words that are `expected` is meant to be.
  async tab(...expected) {
    const page = await this.context.newPage();
    page.on("request", (request) => {
      const { host, protocol } = new URL(request.url());
      if (protocol !== "data:" && host !== this.host) this.faults.push(`asks ${request.url()}`);
    });
    page.on("console", (message) => {
      const isExpected = expected.some((words) => message.text().includes(words));
      if (["error", "warn"].includes(message.type()) && !isExpected) this.faults.push(`${page.url()}: ${message.text()}`);
    });
    page.on("pageerror", (error) => this.faults.push(`${page.url()}: ${error}`));
    page.on("dialog", (dialog) => this.faults.push(`${page.url()}: a dialog, ${dialog.message()}`));
    return page;
  }

  async go(page, address) {
    const answer = await page.goto(new URL(address, this.base).href, { waitUntil: "load" });
    assert.equal(answer.status(), 200, address);
  }

  async logIn(page, name, password) {
    await this.go(page, "/login");
    await page.type("input[name=name]", name);
    await page.type("input[name=password]", password);
    await submit(page);
    assert.equal(new URL(page.url()).pathname, "/", `${name} is logged in`);
  }

  isWithoutFault() {
    assert.deepEqual(this.faults, []);
  }
}

// Sends the form of a page and waits for what comes.
export async function submit(page, button = "main button[type=submit]") {
  await Promise.all([page.waitForNavigation(), page.click(button)]);
}

// The text of a page as it is seen.
export function text(page) {
  return page.evaluate(() => document.body.innerText);
}

// Asks until it is so, for half a minute at most.
export async function until(what, isSo) {
  const end = Date.now() + 30_000;
  while (!(await isSo())) {
    assert.ok(Date.now() < end, `gave up waiting until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

// What axe-core finds. It runs in a world of its own: the page's content security policy lets no foreign script in.
async function violations(page) {
  const session = await page.createCDPSession();
  const { frameTree } = await session.send("Page.getFrameTree");
  const world = { frameId: frameTree.frame.id, worldName: "axe" };
  const { executionContextId: contextId } = await session.send("Page.createIsolatedWorld", world);
  await session.send("Runtime.evaluate", { contextId, expression: `${axe};0` });
  const expression = `axe.run(document).then(({ passes, violations }) => ({
    passed: passes.length,
    found: violations.map(({ id, nodes }) => id + ": " + nodes.map(({ html, failureSummary }) => html.slice(0, 200) + " " + failureSummary).join("; ")),
  }))`;
  const answer = await session.send("Runtime.evaluate", { contextId, expression, awaitPromise: true, returnByValue: true });
  await session.detach();
  assert.ok(answer.result.value?.passed > 10, `axe-core looked: ${JSON.stringify(answer)}`);
  return answer.result.value.found;
}

// A page in both themes at the widths of a desk and of a phone: a picture of each, and what is wrong with it.
export async function inspect(page, name, folder) {
  const found = [];
  for (const theme of ["light", "dark"]) {
    await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: theme }]);
    for (const width of [1280, 360]) {
      await page.setViewport({ width, height: 900 });
      const label = `${name}-${theme}-${width}`;
      await page.screenshot({ path: path.join(folder, `${label}.png`) });
      const excess = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      if (excess > 0) found.push(`${label} is ${excess} pixels wider than the window`);
      found.push(...(await violations(page)).map((violation) => `${label}: ${violation}`));
    }
  }
  await page.setViewport({ width: 1280, height: 900 });
  return found;
}

// What records could have smuggled into a page: its own elements have none of these.
export async function isWithoutForeignElements(page) {
  const found = await page.evaluate(() => {
    const scripts = [...document.scripts].filter((script) => new URL(script.src).origin !== origin || script.textContent);
    const handlers = [...document.querySelectorAll("*")].filter((element) => [...element.attributes].some(({ name }) => name.startsWith("on") || name === "style"));
    const links = [...document.querySelectorAll("[href]")].filter(({ href }) => new URL(href.baseVal ?? href, location).origin !== origin);
    return [...scripts, ...handlers, ...links, ...document.querySelectorAll("img, iframe, object, embed, style")].map((element) => element.outerHTML);
  });
  assert.deepEqual(found, []);
}
