// Flips single bits in files of ours and loads them: whatever comes is an error of ours, or right to the last bit.
//
//   npm run bitrot                    300 flips in the payload and 300 in the rest, of every format
//   npm run bitrot -- --flips 20      fewer
//   npm run bitrot -- --every keras   every bit beside the payload, of these formats
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

import { isWeightsError, loadModel, modelFromConfig, openWeights } from "keras-weights";

import { Random } from "../__test__/hostile/random.mjs";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    flips: { type: "string", default: "300" },
    seed: { type: "string", default: "1" },
    every: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
  },
});

const fixture = (path) => fileURLToPath(new URL(`../__test__/fixtures/${path}`, import.meta.url));
const keras3 = await loadModel(fixture("compiled_adam/k3/model.keras"));
const keras2 = await loadModel(fixture("compiled_adam/k2/full.h5"));
const shard = { maxShardBytes: 300 };

/** What we write: the name that is loaded, the model, and how it is saved. */
const formats = {
  keras3_h5: { open: "w.weights.h5", model: keras3, save: (path) => keras3.saveWeights(path) },
  legacy_h5: { open: "w.h5", model: keras2, save: (path) => keras2.saveWeights(path) },
  whole_h5: { open: "m.h5", model: keras2, whole: true, save: (path) => keras2.save(path) },
  keras: { open: "m.keras", model: keras3, whole: true, save: (path) => keras3.save(path) },
  sharded: { open: "w.weights.json", model: keras3, save: (path) => keras3.saveWeights(path, shard) },
  tf_checkpoint: { open: "w", model: keras2, save: (path) => keras2.saveWeights(path) },
  tf_checkpoint_shards: { open: "w", model: keras3, save: (path) => keras3.saveWeights(path, shard) },
  safetensors: { open: "w.safetensors", model: keras3, save: (path) => keras3.saveWeights(path) },
  npz: { open: "w.npz", model: keras3, save: (path) => keras3.saveWeights(path) },
};

/** Everything that a file brings into a model, as text that can be compared. */
function contents(model, whole) {
  const weights = model.getWeights().map(({ dtype, shape, data }) => {
    return `${dtype} ${shape.join("x")} ${Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString("base64")}`;
  });
  if (!whole) return weights.join("\n");
  const slots = (model.optimizer?.variables ?? []).map((variable) => {
    const { data } = variable.tensor?.() ?? { data: variable.read() };
    return Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString("base64");
  });
  return [JSON.stringify(model.toJSON()), JSON.stringify(model.optimizer), ...weights, ...slots].join("\n");
}

async function load({ open, model, whole }, folder) {
  const path = join(folder, open);
  const quiet = { onWarning: () => undefined };
  if (whole) return contents(await loadModel(path, quiet), true);
  const fresh = modelFromConfig(model.toJSON());
  await fresh.loadWeights(path, quiet);
  return contents(fresh, false);
}

/** The bytes of every tensor, as their owner wrote them: where these stand in a file is the payload. */
async function tensorBytes(path) {
  const file = await openWeights(path);
  const found = [];
  for (const entry of file.entries()) {
    if (entry.dtype === "string" || entry.byteLength < 8) continue;
    const { data } = await file.read(entry.path);
    found.push(Buffer.from(data.buffer, data.byteOffset, data.byteLength));
  }
  file.close();
  return found;
}

/** All places of a kind, as runs of bytes of a file. */
function regions(files, tensors) {
  const payload = [];
  const rest = [];
  for (const [name, bytes] of files) {
    const taken = new Uint8Array(bytes.length);
    for (const tensor of tensors) {
      for (let at = bytes.indexOf(tensor); at >= 0; at = bytes.indexOf(tensor, at + 1)) {
        // Zeros are found wherever there are zeros: those are no places of a tensor's own.
        if (tensor.every((byte) => byte === 0)) break;
        taken.fill(1, at, at + tensor.length);
      }
    }
    taken.forEach((kind, at) => (kind ? payload : rest).push([name, at]));
  }
  return { payload, rest };
}

async function judge(format, description) {
  const parent = mkdtempSync(join(tmpdir(), "keras-weights-bit-rot-"));
  const [written, folder] = [join(parent, "written"), join(parent, "flipped")];
  try {
    mkdirSync(written);
    await description.save(join(written, description.open));
    const files = new Map(readdirSync(written).sort().map((name) => [name, readFileSync(join(written, name))])); // prettier-ignore
    const right = await load(description, written);
    const random = new Random(`${format} ${values.seed}`);
    const rows = [];
    for (const [region, places] of Object.entries(regions(files, await tensorBytes(join(written, description.open))))) {
      const row = { format, region, bytes: places.length, flips: 0, detected: 0, harmless: 0, wrong: [] };
      const chosen =
        values.every && region === "rest"
          ? places.flatMap((place) => [0, 1, 2, 3, 4, 5, 6, 7].map((bit) => [...place, bit]))
          : Array.from({ length: Number(values.flips) }, () => [...random.of(places), random.below(8)]);
      for (const [name, at, bit] of chosen) {
        rmSync(folder, { recursive: true, force: true });
        mkdirSync(folder);
        for (const [other, bytes] of files) {
          const copy = Buffer.from(bytes);
          if (other === name) copy[at] ^= 1 << bit;
          writeFileSync(join(folder, other), copy);
        }
        row.flips += 1;
        try {
          if ((await load(description, folder)) === right) row.harmless += 1;
          else row.wrong.push(`${name} byte ${at} bit ${bit}`);
        } catch (error) {
          if (!isWeightsError(error) || error.code === "ERR_WEIGHTS_INTERNAL")
            row.wrong.push(`${name} byte ${at} bit ${bit}: ${error.stack}`); // prettier-ignore
          else row.detected += 1;
        }
      }
      rows.push(row);
    }
    return rows;
  } finally {
    rmSync(parent, { recursive: true, force: true });
  }
}

const reports = [];
for (const [format, description] of Object.entries(formats)) {
  if (positionals.length > 0 && !positionals.includes(format)) continue;
  for (const row of await judge(format, description)) {
    reports.push(row);
    if (values.json) continue;
    const { region, bytes, flips, detected, harmless, wrong } = row;
    console.log(`${format}, ${region} (${bytes} bytes): ${flips} flips, ${detected} detected, ${harmless} harmless, ${wrong.length} wrong`); // prettier-ignore
    for (const place of wrong.slice(0, 10)) console.log(`  WRONG ${place}`);
  }
}
if (values.json) console.log(JSON.stringify(reports));
process.exit(reports.some(({ wrong }) => wrong.length > 0) ? 1 : 0);
