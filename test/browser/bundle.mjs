// Bundles the test pages with the stock players into the folder named by the
// first argument: `node bundle.mjs OUT`.
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

await build({
  entryPoints: ["pages/watch.js", "pages/publish.js", "pages/moqt-watch.js", "pages/moqt-publish.js", "pages/moqt-refused.js"],
  absWorkingDir: fileURLToPath(new URL(".", import.meta.url)),
  bundle: true,
  format: "esm",
  target: "chrome120",
  outdir: process.argv[2],
  logLevel: "warning",
});
