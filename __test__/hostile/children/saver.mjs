// Saves one generation after the other until it is killed, and says on stdout when it begins and ends each.
//
//   saver.mjs <kind> <folder>
import { writeSync } from "node:fs";

import { Saver } from "../saved-kinds.mjs";

const [kind, folder] = process.argv.slice(2);
const saver = new Saver(kind, folder);
for (let generation = 1; ; generation++) {
  writeSync(1, `begin ${generation}\n`);
  await saver.save(generation);
  writeSync(1, `end ${generation}\n`);
}
