// An agent in JavaScript behind HTTP: no library, `node agent.mjs` and it serves.
//
// Each job is one POST. Its payload is the body; what the worker knows of it is in the headers. The answer is either
// one JSON document, or a stream of JSON lines: progress while it works, then the result.
import http from "node:http";

const port = Number(process.env.PORT ?? 9000);
const MOST_AT_ONCE = 4;
let running = 0;

async function body(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return JSON.parse(Buffer.concat(chunks).toString("utf8"));
}

function answer(response, status, document, headers = {}) {
  response.writeHead(status, { "Content-Type": "application/json", ...headers });
  response.end(JSON.stringify(document));
}

// Splits the text into sentences and says, while it goes, how far it is.
async function summarise(payload, request, response) {
  const sentences = payload.text.split(/(?<=[.!?])\s+/).filter(Boolean);
  response.writeHead(200, { "Content-Type": "application/x-ndjson" });
  let longest = "";
  for (const [index, sentence] of sentences.entries()) {
    if (request.socket.destroyed) return; // the job was cancelled: the worker has hung up
    if (sentence.length > longest.length) longest = sentence;
    response.write(JSON.stringify({ progress: { read: index + 1, of: sentences.length } }) + "\n");
    await new Promise((resolve) => setImmediate(resolve));
  }
  const result = { sentences: sentences.length, longest, attempt: Number(request.headers["agentpool-attempt"]) };
  response.end(JSON.stringify({ result }) + "\n");
}

const server = http.createServer(async (request, response) => {
  if (running >= MOST_AT_ONCE) return answer(response, 503, { error: "busy" }, { "Retry-After": "1" });
  running += 1;
  try {
    const payload = await body(request);
    const kind = request.headers["agentpool-kind"];
    if (kind === "summarise" && typeof payload?.text === "string") await summarise(payload, request, response);
    else if (kind === "echo") answer(response, 200, { payload, job: request.headers["agentpool-job-id"] });
    else answer(response, 422, { error: `no such job: ${kind}` }); // 4xx: fails for good, no retry
  } catch (error) {
    answer(response, 500, { error: String(error) }); // 5xx: may be retried
  } finally {
    running -= 1;
  }
});

server.listen(port, "127.0.0.1", () => console.log(`listening on ${server.address().port}`));
process.on("SIGTERM", () => server.close(() => process.exit(0)));
