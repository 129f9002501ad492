import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["__test__/**/*.test.ts"],
    exclude: ["__test__/oracle/**", "__test__/package/**", "**/node_modules/**"],
    // Processes and not threads: the addon starts threads and ends workers of its own, and a crash must cost one file.
    pool: "forks",
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
