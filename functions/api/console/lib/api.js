// The JSON API, and news of it. The key is kept for this tab only.

import { clockFrom } from './format.js';

/** Routes are relative to this, as addresses are. */
export const API = '/api/v1/';
const KEY = 'flowc.key';
export const key = {
  get: () => sessionStorage.getItem(KEY),
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

/** An answer that is no success. `status` is 0 when the platform was not reached. */
export class Problem extends Error {
  constructor(status, document) {
    super(document.detail ?? `the platform answered ${status}`);
    Object.assign(this, { status, code: document.code ?? '', errors: document.errors ?? [] });
  }
}

export const wait = (ms) => new Promise((done) => setTimeout(done, ms));
export const path = (strings, ...ids) => String.raw({ raw: strings }, ...ids.map(encodeURIComponent));

/** The address of a request; values that are undefined, null or '' are left out, a list is said several times. */
export function address(route, query = {}) {
  const said = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const one of [value].flat()) if ((one ?? '') !== '') said.append(name, one);
  }
  return String(said) ? `${route}?${said}` : route;
}

const headers = (more) => ({ accept: 'application/json', ...(key.get() ? { authorization: `Bearer ${key.get()}` } : {}), ...more });

async function request(method, url, body, signal) {
  let answer;
  try {
    answer = await fetch(new URL(url, location.origin + API), { method, signal, headers: headers({ 'content-type': 'application/json' }), body: body && JSON.stringify(body) });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Problem(0, { detail: 'The platform does not answer; this page tries again.' });
  }
  clockFrom(answer.headers.get('date'));
  const text = await answer.text();
  const json = /json/.test(answer.headers.get('content-type') ?? '');
  const document = json && text ? JSON.parse(text) : text;
  if (!answer.ok) throw new Problem(answer.status, json ? document : {});
  return document;
}

export const api = {
  get: (route, query, signal) => request('GET', address(route, query), undefined, signal),
  post: (route, body = {}) => request('POST', route, body),
  put: (route, body) => request('PUT', route, body),
  remove: (route, query) => request('DELETE', address(route, query)),
  /** All items of a list that comes in pages, `most` at most. */
  async all(route, query, { most = Infinity, signal } = {}) {
    const items = [];
    for (let cursor; items.length < most;) {
      const page = await api.get(route, { limit: 500, ...query, cursor }, signal);
      items.push(...page.items);
      cursor = page.cursor;
      if (!cursor) break;
    }
    return items;
  },
};

const POLL = 3000;
const LISTENERS = new Set();

/** Call `listener(changes)` when something has happened; `changes` is null where only time tells. Returns a stop. */
export function follow(listener) {
  LISTENERS.add(listener);
  if (LISTENERS.size === 1) news();
  return () => LISTENERS.delete(listener);
}

const tell = (changes) => LISTENERS.forEach((listener) => listener(changes));
let running = false, stream;
document.addEventListener('visibilitychange', () => document.hidden && stream?.abort()); // a browser has six connections

async function news() {
  if (running) return;
  running = true;
  let last = null;
  while (LISTENERS.size) {
    if (document.hidden) await new Promise((done) => document.addEventListener('visibilitychange', done, { once: true }));
    try {
      stream = new AbortController();
      const answer = await fetch(`${API}events`, { signal: stream.signal, headers: headers({ accept: 'text/event-stream', ...(last ? { 'last-event-id': last } : {}) }) });
      const streams = answer.ok && answer.headers.get('content-type')?.startsWith('text/event-stream');
      if (streams) last = await heard(answer.body, last);
      else answer.body?.cancel();
      if (!streams) await wait(POLL);
    } catch {
      await wait(POLL);
    }
    tell(null);
  }
  running = false;
}

async function heard(body, last) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done || !LISTENERS.size) break;
    const messages = (text + value).split('\n\n');
    text = messages.pop();
    const changes = [];
    for (const message of messages) {
      last = /^id: ?(.+)$/m.exec(message)?.[1] ?? last;
      const data = /^data: ?(.+)$/m.exec(message)?.[1];
      if (data) changes.push(JSON.parse(data));
    }
    if (changes.length) tell(changes.every((one) => one.type) ? changes : null);
  }
  reader.cancel();
  return last;
}
