// Tests that let real Keras 3, tf_keras, TensorFlow, h5py and safetensors judge what we write.
//
//   npm run test:oracle             all
//   npm run test:oracle -- legacy   only files whose path contains "legacy"
import { finish, runVitest } from "./lib/suites.mjs";
import { pythonOracle } from "../__test__/oracle/venv.mjs";

const python = await pythonOracle();
const filters = process.argv.slice(2).filter((argument) => !argument.startsWith("--"));
finish([
  await runVitest({
    config: "vitest.oracle.config.ts",
    filters,
    suite: "oracle",
    env: { KERAS_WEIGHTS_PYTHON: python },
  }),
]);
