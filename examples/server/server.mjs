// A server that keeps checkpoints of one model: it loads, saves, verifies and describes them while requests keep coming.
//
//   node examples/server/server.mjs <folder> [port]
//
//   PUT  /checkpoints/NAME           saves what the model holds now
//   POST /checkpoints/NAME           loads a checkpoint into the model
//   GET  /checkpoints/NAME           its tensors; no value is read
//   GET  /checkpoints/NAME?verify    compares all checksums
//   GET  /checkpoints/NAME/TENSOR    the values of one tensor, as bytes
//   GET  /health                     memory, and the longest pauses of the event loop since the last look
import { createServer } from "node:http";
import { readFileSync } from "node:fs";
import { mkdir, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { isWeightsError, layers, openWeights, sequential, verifyWeights } from "keras-weights";

// Names are given, not counted: a safetensors file finds its weights by them, in every model that is made here.
const model = () =>
  sequential(
    [
      layers.input([256]),
      layers.dense(512, { activation: "relu", name: "hidden" }),
      layers.batchNormalization({ name: "norm" }),
      layers.dense(64, { name: "out" }),
    ],
    { name: "served" },
  );

/** Only plain names: a request must not lead out of the folder. */
function place(folder, name) {
  if (!/^[A-Za-z0-9_-][A-Za-z0-9._-]*$/u.test(name)) throw new RangeError(`${name} is no name of a checkpoint`);
  return join(folder, name);
}

/** What this process holds, where the system tells. */
async function held() {
  const maps = await readFile("/proc/self/maps", "latin1").catch(() => "");
  const files = await readdir("/proc/self/fd").catch(() => []);
  return { rss: process.memoryUsage.rss(), mappings: maps.split("\n").length, files: files.length };
}

/** Milliseconds that the main thread has waited for a processor, where the system tells. */
function waited() {
  try {
    return Number(readFileSync(`/proc/self/task/${process.pid}/schedstat`, "latin1").split(" ")[1]) / 1e6;
  } catch {
    return 0;
  }
}

/** Watches the event loop: how long it stood still, and how long of that it had a processor. */
class Pauses {
  longest = 0;
  longestOfOurs = 0;

  constructor(interval = 5) {
    let [last, lastWaited] = [performance.now(), waited()];
    setInterval(() => {
      const [now, nowWaited] = [performance.now(), waited()];
      const pause = now - last - interval;
      this.longest = Math.max(this.longest, pause);
      this.longestOfOurs = Math.max(this.longestOfOurs, pause - (nowWaited - lastWaited));
      [last, lastWaited] = [now, nowWaited];
    }, interval).unref();
  }

  /** What was seen since the last call. */
  take() {
    const seen = { longestPause: this.longest, longestOfOurs: this.longestOfOurs };
    this.longest = this.longestOfOurs = 0;
    return seen;
  }
}

/** Starts the server; resolves with it once it listens. */
export async function start(folder, port = 0) {
  await mkdir(folder, { recursive: true });
  const current = model();
  const pauses = new Pauses();

  // One save of a name at a time: of two, the second would only replace the first.
  const saving = new Map();
  function save(path) {
    const turn = (saving.get(path) ?? Promise.resolve()).then(() => current.saveWeights(path, { snapshot: true }));
    saving.set(
      path,
      turn.catch(() => undefined),
    );
    return turn;
  }

  async function answer({ method, url }) {
    const { pathname, searchParams } = new URL(url, "http://localhost");
    const [, kind, name, ...tensor] = pathname.split("/").map(decodeURIComponent);
    if (kind === "health") return { ...(await held()), ...pauses.take() };
    if (kind !== "checkpoints" || name === undefined) return undefined;
    const path = place(folder, name);
    if (method === "PUT") return save(path);
    // A model of its own for each request: two loads into one model at once would be an error.
    if (method === "POST") return model().loadWeights(path);
    if (searchParams.has("verify")) return verifyWeights(path);
    const file = await openWeights(path);
    try {
      return tensor.length === 0 ? file.entries() : (await file.read(tensor.join("/"))).copy().data;
    } finally {
      file.close();
    }
  }

  const server = createServer((request, response) => {
    request.resume();
    answer(request).then(
      (result) => {
        response.statusCode = result === undefined ? 404 : 200;
        response.end(ArrayBuffer.isView(result) ? Buffer.from(result.buffer) : JSON.stringify(result ?? null));
      },
      (error) => {
        response.statusCode = isWeightsError(error) || error instanceof RangeError ? 400 : 500;
        response.end(JSON.stringify({ code: error.code, message: error.message }));
      },
    );
  });
  await new Promise((resolve) => server.listen(port, "127.0.0.1", resolve));
  return server;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const server = await start(process.argv[2] ?? "checkpoints", Number(process.argv[3] ?? 0));
  console.log(`http://127.0.0.1:${server.address().port}`);
}
