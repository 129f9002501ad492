// What a process holds: resident bytes, mappings, open files. Linux only.
import { readdirSync, readFileSync } from "node:fs";
import { setImmediate as turn } from "node:timers/promises";

/** Lets finalizers run, then counts. */
export async function held(file) {
  for (let k = 0; k < 5; k++) {
    globalThis.gc();
    await turn();
  }
  const maps = readFileSync("/proc/self/maps", "utf8").split("\n");
  return {
    rss: process.memoryUsage.rss(),
    mappings: maps.length,
    ofFile: maps.filter((line) => line.endsWith(file)).length,
    files: readdirSync("/proc/self/fd").length,
  };
}
