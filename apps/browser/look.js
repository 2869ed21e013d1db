// Looks at the page as a person with the network cut does: node look.js <url> <picture.png> <question>…
// An empty question starts a new conversation. Prints what it saw as JSON.
import { chromium } from "playwright-core";

const [url, picture, ...questions] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
const page = await browser.newPage({ viewport: { width: 900, height: 480 } });
const seen = { requests: [], answers: [] };
page.on("request", (request) => seen.requests.push(request.url()));
const failed = new Promise((_, reject) => page.on("pageerror", reject));
const ready = () => Promise.race([failed, page.waitForSelector("fieldset:enabled", { timeout: 120_000 })]);
await page.goto(url);
await ready();
await page.context().setOffline(true);
for (const question of questions) {
  if (!question) {
    await page.click("#forget");
    continue;
  }
  await page.fill("#question", question);
  await page.press("#question", "Enter");
  await ready();
  const answer = page.locator(".assistant").last();
  seen.answers.push({ question, text: await answer.textContent(), tokens: await answer.getAttribute("data-tokens") });
}
seen.state = await page.textContent("#state");
seen.threads = await page.evaluate(() => (crossOriginIsolated ? navigator.hardwareConcurrency : 1));
await page.screenshot({ path: picture });
await browser.close();
console.log(JSON.stringify(seen));
