// Keeps the example server busy and watches it: memory, open files and mappings must not grow, and its event loop must not
// stand still.
//
//   npm run soak                         10 minutes
//   npm run soak -- --seconds 20
//
// A pause counts as the server's own as far as its main thread did not wait for a processor meanwhile: other work on the
// machine is no matter of ours.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

import { Random } from "../__test__/hostile/random.mjs";

const { values } = parseArgs({
  options: { seconds: { type: "string", default: "600" }, clients: { type: "string", default: "6" }, json: { type: "boolean", default: false } },
}); // prettier-ignore

const folder = mkdtempSync(join(tmpdir(), "keras-weights-soak-"));
const path = fileURLToPath(new URL("../examples/server/server.mjs", import.meta.url));
const server = spawn(process.execPath, [path, folder], { stdio: ["ignore", "pipe", "inherit"] });
const origin = await new Promise((resolve, reject) => {
  server.stdout.once("data", (text) => resolve(String(text).trim()));
  server.once("exit", () => reject(new Error("the server ended")));
});

const names = ["a.weights.h5", "b.h5", "c.safetensors", "d.npz", "e"];
const counts = {};
const failures = [];

async function ask(method, target) {
  const response = await fetch(`${origin}${target}`, { method });
  const body = await response.arrayBuffer();
  const kind =
    `${method} ${target.includes("verify") ? "verify" : target.split("/").length > 3 ? "tensor" : ""}`.trim();
  counts[kind] = (counts[kind] ?? 0) + 1;
  if (response.status !== 200) failures.push(`${method} ${target}: ${Buffer.from(body).toString().slice(0, 300)}`);
  return body;
}

const seconds = Number(values.seconds);
const end = performance.now() + seconds * 1000;
for (const name of names) await ask("PUT", `/checkpoints/${name}`);

async function client(number) {
  const random = new Random(`soak ${number}`);
  while (performance.now() < end) {
    const name = random.of(names);
    switch (random.below(8)) {
      case 0:
        await ask("PUT", `/checkpoints/${name}`);
        break;
      case 1:
        await ask("GET", `/checkpoints/${name}?verify`);
        break;
      case 2: {
        const entries = JSON.parse(Buffer.from(await ask("GET", `/checkpoints/${name}`)).toString());
        // An answer that is an error was noted already.
        const numbers = Array.isArray(entries) ? entries.filter(({ dtype }) => dtype !== "string") : [];
        if (numbers.length === 0) break;
        const tensor = random.of(numbers).path.split("/").map(encodeURIComponent).join("/");
        await ask("GET", `/checkpoints/${name}/${tensor}`);
        break;
      }
      default:
        await ask("POST", `/checkpoints/${name}`);
    }
  }
}

const samples = [];
async function watch() {
  const every = Math.max(1000, Math.min(5000, (seconds * 1000) / 20));
  while (performance.now() < end) {
    await sleep(every);
    samples.push(await fetch(`${origin}/health`).then((response) => response.json()));
  }
}

try {
  await Promise.all([watch(), ...Array.from({ length: Number(values.clients) }, (_, k) => client(k))]);
} finally {
  server.kill();
  rmSync(folder, { recursive: true, force: true });
}

// The first fifth warms up; afterwards the middle half is compared with the end.
const warm = samples.slice(Math.ceil(samples.length / 5));
const quarter = Math.max(1, Math.floor(warm.length / 4));
const median = (list) => [...list].sort((a, b) => a - b)[list.length >> 1];
const growth = (key) => median(warm.slice(-quarter).map((s) => s[key])) - median(warm.slice(0, quarter).map((s) => s[key])); // prettier-ignore
const most = (key) => Math.max(...warm.map((s) => s[key]));
const over = warm.filter(({ longestOfOurs }) => longestOfOurs > 50);
const report = {
  seconds,
  requests: counts,
  failed: failures.length,
  rssMegabytes: { most: Math.round(most("rss") / 2 ** 20), growth: Math.round(growth("rss") / 2 ** 20) },
  files: { most: most("files"), growth: growth("files") },
  mappings: { most: most("mappings"), growth: growth("mappings") },
  pauseMilliseconds: {
    longest: Math.round(most("longestOfOurs")),
    medianOfLongest: Math.round(median(warm.map((s) => s.longestOfOurs))),
    withWaitingForAProcessor: Math.round(most("longestPause")),
    looks: warm.length,
    over: over.length,
  },
};
const problems = [...failures.slice(0, 5)];
if (report.rssMegabytes.growth > 64) problems.push("memory grows");
if (report.files.growth > 64) problems.push("open files grow");
if (report.mappings.growth > 128) problems.push("mappings grow");
if (over.length > 0)
  problems.push(`the event loop stood still for more than 50 ms in ${over.length} of ${warm.length} looks`);
console.log(JSON.stringify({ ...report, problems }, null, values.json ? 0 : 2));
process.exit(problems.length > 0 ? 1 : 0);
