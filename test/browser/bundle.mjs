// Bundles the test pages with the stock players into the folder named by the
// first argument: `node bundle.mjs OUT`.
import { build } from "esbuild";

await build({
  entryPoints: ["pages/watch.js", "pages/publish.js"],
  absWorkingDir: import.meta.dirname,
  bundle: true,
  format: "esm",
  target: "chrome120",
  outdir: process.argv[2],
  logLevel: "warning",
});
