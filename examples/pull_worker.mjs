// A worker of Flow C that asks for its tickets, with nothing but Node 18 or newer: it needs no address, only a way out.
// Beside `flowc up`: `node examples/pull_worker.mjs`, then `flowc submit examples/hello.json`. See docs/guides/workers.md.
import { setTimeout as sleep } from "node:timers/promises";

const api = (process.env.FLOWC_URL ?? "http://127.0.0.1:8080") + "/api/v1", me = `node-${process.pid}`;
const reports = new Map(); // by ticket and attempt: what is given again, as an answer was lost, is not done again
const work = async (task) => ({ done: task.description, parameters: task.parameters }); // an exception fails the attempt

async function call(method, url, body, bearer = process.env.FLOWC_API_KEY ?? "") { // repeats until it is answered for good
  const headers = { "content-type": "application/json", authorization: `Bearer ${bearer}` };
  for (;; await sleep(1000)) {
    const answer = await fetch(url, { method, headers, body: JSON.stringify(body) }).catch(() => null);
    if (answer && answer.status < 500 && ![408, 409, 425, 429].includes(answer.status)) return answer;
  }
}
async function run(task) {
  const about = { ticket_id: task.ticket_id, attempt: task.attempt }, key = JSON.stringify(about);
  const end = reports.get(key) ?? await work(task).then((output) => ({ status: "COMPLETED", output }),
    (error) => ({ status: "FAILED", error: error.message }));
  reports.set(key, end);
  console.log(end.status, task.task_id, await (await call("POST", task.callback_url, { ...about, ...end }, task.token)).text());
}
let busy = false, stopping = false;
const leave = () => call("DELETE", `${api}/workers/${me}`).then(() => process.exit());
process.once("SIGTERM", () => ((stopping = true), busy || leave())); // what runs ends and is reported
setInterval(() => call("POST", `${api}/workers/${me}/heartbeat`, {}), 30_000); // a task may take longer than that
while (!stopping) {
  const answer = await call("POST", `${api}/tasks/lease`, { worker_id: me, wait_seconds: 20, running: [] });
  busy = true;
  if (answer.ok) for (const event of (await answer.json()).assignments) await run(event.data);
  else if (!(await call("POST", `${api}/workers`, { worker_id: me, delivery: "pull", capabilities: ["python"], slots: 1 })).ok)
    await sleep(1000);
  busy = false;
}
leave();
