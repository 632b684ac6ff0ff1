// Runs the comparison of sizes (bench/autoscale/lab.py) by Pyodide, beside the page. One question at a time.
import { loadPyodide } from "./pyodide/pyodide.mjs";

const here = new URL(".", import.meta.url).href;

async function start() {
  const [python, archive] = await Promise.all([
    loadPyodide({ indexURL: `${here}pyodide/` }),
    fetch(`${here}model.zip`).then((answer) => answer.arrayBuffer()),
  ]);
  python.unpackArchive(archive, "zip");
  return python.pyimport("bench.autoscale.lab");
}

const started = start();
started.then(() => postMessage({ ready: true }), (error) => postMessage({ failed: String(error) }));

onmessage = async ({ data: text }) => {
  const lab = await started;
  try {
    postMessage({ answer: JSON.parse(lab.compare(text)) });
  } catch (error) {
    const lines = String(error.message).trim().split("\n");
    postMessage({ refused: lines[lines.length - 1].replace(/^ValueError: /, "") });
  }
};
