// Makes dist/, a folder of plain files for any web server: npm run build -- <exported folder>, such as ../../artifacts/export/onnx-web-int8
import { cpSync, existsSync, mkdirSync, rmSync } from "node:fs";
import { build } from "esbuild";

const [model] = process.argv.slice(2);
if (!model || !existsSync(`${model}/onnx`)) {
  console.error(`error: ${model ?? "no folder given"}: needs an export with an onnx/ folder inside; see docs/how-to/apps.md`);
  process.exit(2);
}
rmSync("dist", { recursive: true, force: true });
mkdirSync("dist/ort", { recursive: true });
await build({
  entryPoints: ["main.js"],
  outdir: "dist",
  bundle: true,
  format: "esm",
  minify: true,
  alias: { "onnxruntime-web/webgpu": "onnxruntime-web/wasm" }, // 14 instead of 27 MB, and it knows quantized embeddings
  conditions: ["onnxruntime-web-use-extern-wasm"],
  logLevel: "warning",
});
for (const file of ["ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"]) {
  cpSync(`node_modules/onnxruntime-web/dist/${file}`, `dist/ort/${file}`);
}
cpSync("index.html", "dist/index.html");
cpSync(model, "dist/models/mini", { recursive: true, dereference: true });
