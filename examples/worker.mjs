// A worker of Flow C in one file, with nothing but Node 18 or newer: it registers, takes tickets, does `work`, reports.
//
// Beside `flowc up`: `node examples/worker.mjs`, then `flowc submit examples/hello.json`. FLOWC_URL says where the platform
// is, FLOWC_API_KEY its key if it asks for one. The protocol is described in docs/reference/worker-protocol.md.

import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

const workers = (process.env.FLOWC_URL ?? "http://127.0.0.1:8080") + "/api/v1/workers";
const about = { worker_id: `node-${process.pid}`, capabilities: ["python"], slots: 4 };
const seen = new Set();
const running = new Set();
let member; // what the platform answers to our registration
let registered; // the registration whose answer is waited for

async function work(task) { // what this worker is for; an exception fails the attempt
  return { done: task.description, parameters: task.parameters };
}

function call(method, url, body, bearer = process.env.FLOWC_API_KEY ?? "") {
  const headers = { "content-type": "application/json", authorization: `Bearer ${bearer}` };
  return fetch(url, { method, headers, body: body && JSON.stringify(body), signal: AbortSignal.timeout(10_000) });
}

async function run(task) {
  let end;
  try {
    end = { status: "COMPLETED", output: await work(task) };
  } catch (error) {
    end = { status: "FAILED", error: { type: error.name, message: error.message, retryable: true } };
  }
  const report = { ticket_id: task.ticket_id, attempt: task.attempt, ...end };
  for (;; await sleep(1000)) { // until the platform has heard it, or says that it will not
    const answer = await call("POST", task.callback_url, report, task.token).catch(() => null);
    if (answer && answer.status < 500 && ![408, 409, 425, 429].includes(answer.status)) {
      return console.log(end.status, task.task_id, await answer.text());
    }
  }
}

function take(headers, body) { // returns the status that a message is answered with
  const { "webhook-id": id, "webhook-timestamp": sent, "webhook-signature": given = "" } = headers;
  const key = Buffer.from(member.signing_secret.slice("whsec_".length), "base64");
  const ours = Buffer.from("v1," + createHmac("sha256", key).update(`${id}.${sent}.`).update(body).digest("base64"));
  const fits = (one) => one.length === ours.length && timingSafeEqual(Buffer.from(one, "latin1"), ours);
  if (!given.split(" ").some(fits) || Math.abs(Date.now() / 1000 - Number(sent)) > 300) return 401;
  const task = JSON.parse(body);
  if (!task.callback_url) return 202; // ticket.cancelled: here, what runs may end, and its report is superseded
  if (!task.callback_url.startsWith(member.callback_base_url + "/")) return 403;
  const attempt = `${task.ticket_id}/${task.attempt}`;
  if (!seen.has(attempt)) { // the same assignment may come twice
    seen.add(attempt);
    const job = run(task).finally(() => running.delete(job));
    running.add(job);
  }
  return 202;
}

async function register() {
  const answer = await call("POST", workers, about);
  if (!answer.ok) throw new Error(`not registered: ${await answer.text()}`);
  return answer.json();
}

const server = createServer({ requestTimeout: 10_000 }, async (request, response) => {
  const parts = [];
  let size = 0;
  for await (const part of request) if ((size += part.length) < 4_000_000) parts.push(part);
  await registered; // a message may come before the answer to the registration whose secret signs it
  response.writeHead(size < 4_000_000 ? take(request.headers, Buffer.concat(parts)) : 413).end();
});
await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
about.endpoint = `http://127.0.0.1:${server.address().port}/`;
registered = register();
member = await registered;
console.log("registered as", about.worker_id);
const beat = setInterval(async () => {
  const answer = await call("POST", `${workers}/${about.worker_id}/heartbeat`, {}).catch(() => null);
  if (answer?.status !== 404) return;
  registered = register().catch(() => member); // the platform has forgotten us
  member = await registered;
}, member.heartbeat_interval_seconds * 1000);
process.once("SIGTERM", async () => {
  clearInterval(beat);
  server.close();
  await Promise.all(running); // what runs ends and is reported
  await call("DELETE", `${workers}/${about.worker_id}`);
  process.exit();
});
