// A server that keeps checkpoints of one model: it loads, saves, verifies and describes them while requests keep coming.
//
//   node examples/server/server.mjs <folder> [port]
//
//   PUT  /checkpoints/NAME           saves what the model holds now
//   POST /checkpoints/NAME           loads a checkpoint into the model
//   GET  /checkpoints/NAME           its tensors; no value is read
//   GET  /checkpoints/NAME?verify    compares all checksums
//   GET  /checkpoints/NAME/TENSOR    the values of one tensor, as bytes
//   GET  /health                     memory, and the longest pause of the event loop since the last look
import { createServer } from "node:http";
import { mkdir, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
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

/** Starts the server; resolves with it once it listens. */
export async function start(folder, port = 0) {
  await mkdir(folder, { recursive: true });
  const current = model();
  const pauses = monitorEventLoopDelay({ resolution: 5 });
  pauses.enable();

  async function answer({ method, url }) {
    const { pathname, searchParams } = new URL(url, "http://localhost");
    const [, kind, name, ...tensor] = pathname.split("/").map(decodeURIComponent);
    if (kind === "health") {
      // The resolution of the measurement is part of what it gives.
      const report = { ...(await held()), longestPause: pauses.max / 1e6 - 5, p99: pauses.percentile(99) / 1e6 - 5 };
      pauses.reset();
      return report;
    }
    if (kind !== "checkpoints" || name === undefined) return undefined;
    const path = place(folder, name);
    if (method === "PUT") return current.saveWeights(path, { snapshot: true });
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
