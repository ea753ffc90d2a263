// Somebody looks at everything that the console has, while the engine works off a backlog with every kind of trouble in it.
//
//     node tour.mjs <engine's console> <its pid> <one-time link of a console without engine> <an order_id> <folder of pictures>

import assert from "node:assert/strict";

import { Browser, inspect, isWithoutForeignElements, submit, text, until } from "./browser.mjs";

const [engine, pid, link, order, pictures] = process.argv.slice(2);
const POISON = "<script>alert(1)</script>";

// Every page: name of its pictures, address, words that it has to say.
const PAGES = [
  ["overview", "/", ["Where every record went", "accounted for"]],
  ["topics", "/topics", ["orders-browser", "read next"]],
  ["messages", "/topics/payments-browser/messages?from=newest&n=20", ["20 records"]],
  ["query", "/query", ["Watermark", "CREATE VIEW order_payments"]],
  ["rules", "/rules", ["amount_matches", "paid "]],
  ["rule", "/rules/amount_matches", ["order_amount = payment_amount"]],
  ["outcomes", "/outcomes", ["validated_orders"]],
  ["malformed", "/outcomes?kind=malformed", [POISON]],
  ["life", `/record?by=order_id&value=${order}`, ["validated_orders", "orders-browser/"]],
  ["poison", `/record?by=order_id&value=${encodeURIComponent(POISON)}`, [POISON, "rejected_payments", "⟨U+202E⟩"]],
  ["checkpoint", "/checkpoint", ["ecomm-batch checkpoint verify", "done"]],
  ["batch", "/checkpoint/0", ["Offsets", "joined"]],
];

const steps = {
  async "a wrong password gets the same words as a wrong name"(browser) {
    const visitor = await browser.visitor(engine);
    const page = await visitor.tab("status of 401");
    for (const name of ["ada", "nobody"]) {
      await visitor.go(page, "/login");
      await page.type("input[name=name]", name);
      await page.type("input[name=password]", "wrong");
      await submit(page);
      assert.match(await text(page), /Name or password is wrong\./);
    }
    assert.deepEqual(await inspect(page, "login-wrong", pictures), []);
    visitor.isWithoutFault();
  },

  async "charts move by themselves"(browser, ada) {
    const page = await ada.tab();
    await ada.logIn(page, "ada", "correct horse");
    const drawn = () => page.evaluate(() => [...document.querySelectorAll("[data-live] .charts svg")].map((svg) => svg.innerHTML).join());
    const newest = () => page.evaluate(() => Number(document.querySelector("[data-live] tbody a").textContent));
    const [charts, batch] = [await drawn(), await newest()];
    await until("the charts are others", async () => (await drawn()) !== charts);
    await until("two more batches are in the table", async () => (await newest()) >= batch + 2);
    await until("the page says how fresh it is", async () => /live · \d+ s ago/.test(await text(page)));
  },

  async "every page, in both themes, at a desk and on a phone"(browser, ada) {
    const page = await ada.tab();
    const found = [];
    for (const [name, address, words] of PAGES) {
      await ada.go(page, address);
      const seen = await text(page);
      for (const word of words) assert.ok(seen.includes(word), `"${word}" is not on ${address}: ${seen}`);
      await isWithoutForeignElements(page);
      found.push(...(await inspect(page, name, pictures)));
    }
    assert.deepEqual(found, []);
  },

  async "an order is found from any page"(browser, ada) {
    const page = await ada.tab();
    await ada.go(page, "/rules");
    await page.select("select[name=by]", "order_id");
    await page.type("input[name=value]", order);
    await submit(page, ".find button");
    const seen = await text(page);
    for (const word of [`order_id = ${order}`, "orders-browser/", "payments-browser/", "validated_orders"]) {
      assert.ok(seen.includes(word), `"${word}" is not in ${seen}`);
    }
  },

  async "a record is read as it was sent"(browser, ada) {
    const page = await ada.tab();
    await ada.go(page, "/topics/orders-browser/messages");
    await page.select("select[name=from]", "offset");
    await page.type("input[name=at]", "0");
    await page.type("input[name=has]", POISON);
    await submit(page, "main form button[type=submit]");
    await page.click("main table summary");
    const seen = await text(page);
    for (const word of [POISON, "<img src=x onerror=alert(1)>", "12.50"]) assert.ok(seen.includes(word), `"${word}" is not in ${seen}`);
    await isWithoutForeignElements(page);
  },

  async "the reader's choices last"(browser, ada) {
    const page = await ada.tab();
    await ada.go(page, "/checkpoint");
    await page.click("[data-switch=theme]");
    await page.click("[data-switch=theme]");
    await page.click("[data-switch=zone]");
    await ada.go(page, "/query");
    assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "dark");
    assert.match(await page.$eval("main time", (time) => time.textContent), /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} [+-]\d\d:\d\d$/);
    await page.click("[data-switch=theme]");
    await page.click("[data-switch=zone]");
    assert.match(await page.$eval("main time", (time) => time.textContent), / UTC$/);
  },

  async "the first key leads past the menu"(browser, ada) {
    const page = await ada.tab();
    await ada.go(page, "/topics");
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    assert.equal(new URL(page.url()).hash, "#main");
  },

  async "it works without script"(browser, ada) {
    const page = await ada.tab();
    await page.setJavaScriptEnabled(false);
    await ada.go(page, "/");
    assert.match(await text(page), /accounted for/);
    await page.select("select[name=by]", "order_id");
    await page.type("input[name=value]", order);
    await submit(page, ".find button");
    assert.match(await text(page), /validated_orders/);
  },

  async "who only looks is offered nothing to change, and is refused"(browser) {
    const bob = await browser.visitor(engine);
    const page = await bob.tab("status of 403");
    await bob.logIn(page, "bob", "battery staple");
    await bob.go(page, "/topics");
    assert.match(await text(page), /bob \(read-only\)/);
    assert.equal(await page.$("form[action='/topics']"), null);
    const status = await page.evaluate(async () => {
      const body = new URLSearchParams({ topic: "made-by-bob", partitions: "1", replication: "1" });
      return (await fetch("/topics", { method: "POST", body })).status;
    });
    assert.equal(status, 403);
    bob.isWithoutFault();
  },

  async "who may, creates a topic"(browser, ada) {
    const page = await ada.tab();
    await ada.go(page, "/topics");
    await page.type("form[action='/topics'] input[name=topic]", "made-by-ada");
    await submit(page, "form[action='/topics'] button");
    assert.match(await text(page), /made-by-ada/);
  },

  async "a log-out ends the other tabs"(browser, ada) {
    const first = await ada.tab("status of 401");
    await ada.go(first, "/");
    const second = await ada.tab();
    await ada.go(second, "/rules");
    await submit(second, ".who form button");
    await first.bringToFront();
    await until("the first tab asks for a login", () => new URL(first.url()).pathname === "/login");
    ada.isWithoutFault();
  },

  async "a link logs in once, and leaves the address bar"(browser) {
    const { origin } = new URL(link);
    const admin = await browser.visitor(origin);
    const page = await admin.tab("status of 401");
    await admin.go(page, link);
    const found = await inspect(page, "login-link", pictures);
    await submit(page);
    assert.equal(page.url(), `${origin}/`);
    for (const [name, address] of PAGES) {
      await admin.go(page, address);
      await isWithoutForeignElements(page);
      found.push(...(await inspect(page, `alone-${name}`, pictures)));
    }
    assert.deepEqual(found, []);
    const late = await (await browser.visitor(origin)).tab("status of 401");
    await late.goto(link);
    await submit(late);
    assert.match(await text(late), /not good any more/);
    admin.isWithoutFault();
  },

  async "an engine that is gone is said, and what was known last stays"(browser) {
    const bob = await browser.visitor(engine);
    const page = await bob.tab("ERR_CONNECTION_REFUSED", "ERR_EMPTY_RESPONSE", "ERR_CONNECTION_RESET");
    await bob.logIn(page, "bob", "battery staple");
    await until("the page is live", async () => /live · \d+ s ago/.test(await text(page)));
    process.kill(Number(pid), "SIGKILL");
    await until("the page says that nobody answers", async () => /no answer for \d+ s/.test(await text(page)));
    assert.match(await text(page), /accounted for/);
    bob.isWithoutFault();
  },
};

const browser = await Browser.start();
const ada = await browser.visitor(engine);
for (const [name, step] of Object.entries(steps)) {
  const begin = Date.now();
  await step(browser, ada).catch((error) => {
    throw new Error(`${name}: ${error.message}`, { cause: error });
  });
  console.log(`ok: ${name} (${((Date.now() - begin) / 1000).toFixed(1)} s)`);
}
await browser.close();
