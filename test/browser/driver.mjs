// A small server for the Go tests: one JSON request a line on standard input,
// one JSON answer a line on standard output, in any order. It owns one
// headless Chromium and ends with its input.
import { createInterface } from "node:readline";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const executablePath = process.env.CHROMIUM || "/usr/bin/chromium";
const profile = mkdtempSync(join(tmpdir(), "broadcastd-chromium-"));

// A WebTransport to a self-signed server needs no switch at all: the page pins
// the certificate's hash. The camera is Chromium's test picture.
const context = await chromium.launchPersistentContext(profile, {
  executablePath,
  headless: true,
  viewport: { width: 1100, height: 800 },
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
  ],
});

const pages = new Map();
let lastPage = 0;

const calls = {
  async open({ url, width, height, colorScheme, without }) {
    const page = await context.newPage();
    const id = ++lastPage;
    const log = [];
    const note = (line) => {
      log.push(line);
      if (log.length > 500) log.shift();
    };
    page.on("console", (m) => note(`${m.type()}: ${m.text()}`));
    page.on("pageerror", (e) => note(`uncaught: ${e.stack || e}`));
    page.on("requestfailed", (r) => note(`failed: ${r.url()} ${r.failure()?.errorText}`));
    pages.set(id, { page, log });
    if (width) await page.setViewportSize({ width, height });
    if (colorScheme) await page.emulateMedia({ colorScheme });
    for (const name of without ?? []) await page.addInitScript(`delete window[${JSON.stringify(name)}]`);
    const answer = await page.goto(url, { waitUntil: "domcontentloaded" });
    return { page: id, status: answer?.status() ?? 0 };
  },
  async eval({ page, expression }) {
    return (await at(page).page.evaluate(expression)) ?? null;
  },
  async wait({ page, expression, timeout }) {
    // Not waitForFunction: it evaluates inside the page, which a strict
    // Content-Security-Policy forbids.
    for (const until = Date.now() + timeout; ; ) {
      const value = await at(page).page.evaluate(expression);
      if (value) return value;
      if (Date.now() > until) throw new Error(`not true within ${timeout} ms`);
      await new Promise((done) => setTimeout(done, 100));
    }
  },
  async click({ page, selector, timeout }) {
    await at(page).page.click(selector, { timeout });
  },
  async screenshot({ page, path }) {
    await at(page).page.screenshot({ path });
  },
  async log({ page }) {
    return at(page).log;
  },
  async close({ page }) {
    await at(page).page.close();
    pages.delete(page);
  },
};

function at(id) {
  const p = pages.get(id);
  if (!p) throw new Error(`no page ${id}`);
  return p;
}

async function answer(line) {
  const { id, call, args } = JSON.parse(line);
  let reply;
  try {
    reply = { id, result: (await calls[call](args ?? {})) ?? null };
  } catch (e) {
    reply = { id, error: String(e?.message ?? e) };
  }
  process.stdout.write(JSON.stringify(reply) + "\n");
}

process.stdout.write(JSON.stringify({ id: 0, result: context.browser()?.version() ?? "" }) + "\n");
process.on("SIGINT", () => {}); // the Go side closes the input instead
const lines = createInterface({ input: process.stdin });
lines.on("line", answer);
lines.on("close", async () => {
  await context.close();
  rmSync(profile, { recursive: true, force: true });
  process.exit(0);
});
