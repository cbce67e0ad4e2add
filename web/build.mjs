// Builds the pages into internal/web/dist: `node build.mjs`.
// `node build.mjs --check` fails instead when dist is not what the sources make.
import { build } from "esbuild";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
const dist = join(here, "..", "internal", "web", "dist");

const { outputFiles } = await build({
  entryPoints: ["src/page.ts", "src/page.css"],
  absWorkingDir: here,
  bundle: true,
  minify: true,
  format: "esm",
  target: ["chrome111", "firefox115", "safari17"],
  legalComments: "none",
  write: false,
  outdir: "out",
});

// A file's name holds a hash of its content, so that browsers may keep it for ever.
const files = new Map();
let html = readFileSync(join(here, "src/index.html"), "utf8").replace(/>\s*\n\s*/g, ">\n");
const add = (name, content) => {
  const hash = createHash("sha256").update(content).digest("base64url").replace(/[-_]/g, "").slice(0, 10);
  const hashed = name.replace(/\.(\w+)$/, `-${hash}.$1`);
  files.set(`assets/${hashed}`, content);
  if (!html.includes(`/assets/${name}`)) throw new Error(`index.html does not name ${name}`);
  html = html.replaceAll(`/assets/${name}`, `/assets/${hashed}`);
};
for (const f of outputFiles) add(f.path.split("/").at(-1), Buffer.from(f.contents));
add("icon.svg", readFileSync(join(here, "src/icon.svg")));
files.set("index.html", Buffer.from(html));

if (process.argv.includes("--check")) {
  const have = existsSync(dist) ? readdirSync(dist, { recursive: true }).map(String).filter((f) => f !== "assets") : [];
  const stale = [...files].filter(([name, b]) => !have.includes(name) || !readFileSync(join(dist, name)).equals(b)).map(([name]) => name);
  const extra = have.filter((f) => !files.has(f));
  if (stale.length + extra.length > 0) {
    console.error(`internal/web/dist is not what web/src makes: ${[...stale, ...extra].join(", ")}. Run npm run build in web.`);
    process.exit(1);
  }
} else {
  rmSync(dist, { recursive: true, force: true });
  mkdirSync(join(dist, "assets"), { recursive: true });
  for (const [name, b] of files) writeFileSync(join(dist, name), b);
}
const size = [...files.values()].reduce((n, b) => n + b.length, 0);
console.log([...files].map(([name, b]) => `${name} ${b.length}`).join("\n") + `\ntotal ${size} bytes`);
