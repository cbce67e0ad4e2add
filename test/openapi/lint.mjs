// Checks an OpenAPI description with the rules of Redocly that say what the
// specification says, and a few about what people need. Prints each fault.
import { createConfig, lintFromString } from "@redocly/openapi-core";
import { readFile } from "node:fs/promises";

const config = await createConfig({
  extends: ["minimal"],
  rules: {
    struct: "error",
    "spec-strict-refs": "error",
    "no-unresolved-refs": "error",
    "no-identical-paths": "error",
    "no-ambiguous-paths": "error",
    "no-path-trailing-slash": "error",
    "path-declaration-must-exist": "error",
    "path-parameters-defined": "error",
    "operation-operationId": "error",
    "operation-operationId-unique": "error",
    "operation-operationId-url-safe": "error",
    "operation-parameters-unique": "error",
    "operation-summary": "error",
    "operation-tag-defined": "error",
    "operation-2xx-response": "error",
    "operation-4xx-problem-details-rfc7807": "error",
    "security-defined": "error",
    "no-enum-type-mismatch": "error",
    "no-invalid-schema-examples": "error",
    "no-invalid-media-type-examples": "error",
    "no-unused-components": "error",
    "no-required-schema-properties-undefined": "error",
    "tag-description": "error",
    "info-license": "error",
  },
});
const source = await readFile(process.argv[2], "utf8");
const problems = await lintFromString({ source, absoluteRef: process.argv[2], config });
for (const p of problems) console.log(`${p.ruleId}: ${p.message} at ${p.location.map((l) => l.pointer).join(", ")}`);
process.exitCode = problems.length ? 1 : 0;
