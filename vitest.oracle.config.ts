// Tests that ask real Keras, tf_keras, TensorFlow and h5py. `npm run test:oracle` makes their Python venv first.
import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["__test__/oracle/**/*.test.ts"],
    pool: "forks",
    // Each file starts Python processes of about a gigabyte.
    fileParallelism: false,
    testTimeout: 600_000,
    hookTimeout: 1_800_000,
  },
});
