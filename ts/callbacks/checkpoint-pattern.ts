// The files that a checkpoint callback has written: finding the newest, and removing old ones.
import { readdir, readFile, stat, unlink } from "node:fs/promises";
import { basename, dirname, join } from "node:path";

import { parseTemplate, templateFields, type TemplatePart } from "./python-format.ts";

/** Ending of the small file in which a callback keeps what it has written. */
export const stateEnding = ".checkpoints.json";

const dataFile = /\.data-\d{5}-of-\d{5}$/u;

/** The part of a path before the first folder that has fields, and the segments after it. */
function splitTemplate(filepath: string): { root: string; segments: TemplatePart[][] } {
  // Separators inside a field belong to it, so the template is taken apart first.
  const segments: TemplatePart[][] = [[]];
  for (const part of parseTemplate(filepath)) {
    if (!("text" in part)) {
      segments.at(-1)?.push(part);
      continue;
    }
    part.text.split(/[/\\]/u).forEach((text, index) => {
      if (index > 0) segments.push([]);
      if (text !== "") segments.at(-1)?.push({ text });
    });
  }
  const first = segments.findIndex((parts) => templateFields(parts).length > 0);
  const fixed = segments.slice(0, first === -1 ? -1 : first);
  const absolute = filepath.startsWith("/") || filepath.startsWith("\\");
  const root = fixed.map((parts) => parts.map((part) => ("text" in part ? part.text : "")).join("")).join("/");
  return { root: absolute && root === "" ? "/" : root === "" ? "." : root, segments: segments.slice(fixed.length) };
}

/** Where the state of a template lies: beside its files, in a folder whose name does not change. */
export function stateFile(filepath: string): string {
  const { root, segments } = splitTemplate(filepath);
  const name = segments
    .map((parts) => parts.map((part) => ("text" in part ? part.text : part.field)).join(""))
    .join("-");
  return join(root, `${name}${stateEnding}`);
}

/**
 * The newest checkpoint whose path fits the template, by the time of its last change and, among equals, the greatest
 * name. A TensorFlow checkpoint is found by its `.index`, and its prefix is given.
 */
export async function newestMatch(filepath: string): Promise<string | undefined> {
  const { root, segments } = splitTemplate(filepath);
  let folders = [root];
  for (const parts of segments.slice(0, -1)) {
    const pattern = matcher(parts);
    const next = folders.map(async (folder) =>
      (await names(folder)).filter((n) => pattern.test(n)).map((n) => join(folder, n)),
    );
    folders = (await Promise.all(next)).flat();
  }
  const pattern = matcher(segments.at(-1) ?? []);
  let newest: { path: string; time: bigint } | undefined;
  for (const folder of folders) {
    for (const name of await names(folder)) {
      const prefix = name.endsWith(".index") ? name.slice(0, -".index".length) : name;
      if (name.endsWith(stateEnding) || name.startsWith(".") || dataFile.test(name) || !pattern.test(prefix)) continue;
      const time = await changeTime(join(folder, name));
      const path = join(folder, prefix);
      if (time === undefined) continue;
      if (newest === undefined || time > newest.time || (time === newest.time && path > newest.path)) {
        newest = { path, time };
      }
    }
  }
  return newest?.path;
}

function matcher(parts: readonly TemplatePart[]): RegExp {
  const source = parts.map((part) => ("text" in part ? part.text.replaceAll(/[\\^$.*+?()[\]{}|]/gu, "\\$&") : ".*"));
  return new RegExp(`^${source.join("")}$`, "su");
}

async function names(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch {
    // A folder that is not there has no checkpoints in it.
    return [];
  }
}

async function changeTime(path: string): Promise<bigint | undefined> {
  try {
    return (await stat(path, { bigint: true })).mtimeNs;
  } catch {
    return undefined;
  }
}

/** Whether there is a checkpoint at a path: a file, or a TensorFlow checkpoint of that prefix. */
export async function checkpointExists(path: string): Promise<boolean> {
  return (await changeTime(path)) !== undefined || (await changeTime(`${path}.index`)) !== undefined;
}

/** Removes a checkpoint: first what leads to it, then its other files. What is not there is no error. */
export async function removeCheckpoint(path: string): Promise<void> {
  const folder = dirname(path);
  if (path.endsWith(".weights.json")) {
    const shards = await shardsOf(path);
    await removeFile(path);
    for (const shard of shards) await removeFile(join(folder, shard));
    return;
  }
  await removeFile(path);
  if (!(await removeFile(`${path}.index`))) return;
  const own = `${basename(path)}.data-`;
  for (const name of await names(folder)) {
    if (name.startsWith(own) && dataFile.test(name)) await removeFile(join(folder, name));
  }
}

/** Shards that an index names; only files beside it. */
async function shardsOf(index: string): Promise<string[]> {
  try {
    const { weight_map: map } = JSON.parse(await readFile(index, "utf8")) as { weight_map?: Record<string, unknown> };
    const found = Object.values(map ?? {}).flatMap((shards) => shards);
    return [...new Set(found)].filter(
      (name): name is string =>
        typeof name === "string" && name !== "" && !name.startsWith(".") && !/[/\\]/u.test(name),
    );
  } catch {
    return [];
  }
}

async function removeFile(path: string): Promise<boolean> {
  try {
    await unlink(path);
    return true;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "ENOENT" || code === "EISDIR" || code === "EPERM") return false;
    throw error;
  }
}
