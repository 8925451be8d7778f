// What is known of one flow. All is read once; then the history says what has changed, and records are read again as
// often as their size allows.

import { api, path } from './api.js';
import { now } from './format.js';

const PAGE = 500;
const SHARE = 10; // a read that took 1 s is repeated after 10 s at the earliest
const PAUSE = 300; // milliseconds from one read to the next, at least
const SKEW = 5000; // milliseconds that two clocks may differ
export const ENDED = new Set(['COMPLETED', 'FAILED', 'CANCELLED', 'COMPENSATED', 'SKIPPED']);
const MOMENTS = { ASSIGNED: 'assigned_at', RUNNING: 'started_at', COMPLETED: 'completed_at', FAILED: 'completed_at', CANCELLED: 'completed_at', SKIPPED: 'completed_at' };
const time = (moment) => Date.parse(moment ?? '');

/** TicketView.slack_ms, as it is now. */
export const slackOf = (ticket) => (ENDED.has(ticket.status) ? null : time(ticket.status === 'PENDING' ? ticket.latest_start : ticket.sla.deadline) - now());

/** Milliseconds that the last attempt has worked; null before it begins. */
export const tookOf = (ticket) => (ticket.started_at ? (ENDED.has(ticket.status) ? time(ticket.completed_at) : now()) - time(ticket.started_at) : null);

/** One flow as its page shows it; `changed` is called when there is more to show. */
export class Run {
  flow = null;
  why = null;
  tickets = new Map(); // by id
  readings = 0; // how often the tickets were read: dependencies may have changed
  entries = []; // the history, oldest first
  moves = new Map(); // by ticket id, the entries that changed its status
  complete = false; // all was read once
  error = null;
  #due = {};
  #readFrom = 0;
  #stale = true;
  #busy = false;
  #again = false;

  constructor(id, signal, changed) {
    Object.assign(this, { id, changed });
    this.get = (route, query) => api.get(route, query, signal);
    signal.addEventListener('abort', () => clearTimeout(this.timer));
  }

  begin = () => this.#paced('flow', async () => { this.flow = await this.get(path`flows/${this.id}`); });

  /** Bring all up to date; asked while at work, it does it once more. */
  async refresh() {
    this.#again = true;
    if (this.#busy) return;
    this.#busy = true;
    try {
      while (this.#again) {
        this.#again = false;
        await this.begin();
        const asked = this.#paced('why', async () => { this.why = await this.get(path`why/${this.id}`); });
        asked.catch(() => null); // what ends the reading of the others is thrown there, what ends this one below
        if (this.#stale) await this.#paced('tickets', () => this.#readTickets());
        await this.#paced('history', () => this.#readHistory());
        await asked;
        if (this.error) this.changed(this.error = null);
      }
    } catch (error) {
      if (error.name === 'AbortError') return;
      this.error = error;
      this.changed();
    }
    this.#busy = false;
  }

  /** Do `work`, or later, if it would take more than its share of the time. */
  async #paced(name, work) {
    const began = performance.now(), wait = (this.#due[name] ?? 0) - began;
    if (wait > 0) {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.refresh(), wait + 50);
      return;
    }
    await work();
    this.#due[name] = began + Math.max(PAUSE, (performance.now() - began) * SHARE);
    this.changed();
  }

  async #readTickets() {
    const from = now(), known = new Map();
    this.#stale = false;
    let cursor;
    do {
      const page = await this.get(path`flows/${this.id}/tickets`, { limit: PAGE, cursor });
      for (const ticket of page.items) known.set(ticket.ticket_id, ticket);
      ({ cursor } = page);
      if (this.readings && cursor) continue;
      this.tickets = new Map(known);
      this.changed();
    } while (cursor);
    this.#readFrom = from;
    this.readings += 1;
  }

  async #readHistory() {
    let items;
    do {
      ({ items } = await this.get(path`flows/${this.id}/history`, { limit: PAGE, after: this.entries.at(-1)?.seq }));
      items.forEach((entry) => this.#take(entry));
      if (items.length === PAGE) this.changed();
    } while (items.length === PAGE);
    this.complete = true;
  }

  #take(entry) {
    this.entries.push(entry);
    const { ticket_id: id, to_status: status, at } = entry;
    const fresh = time(at) > this.#readFrom - SKEW;
    this.#stale ||= fresh;
    if (!id && fresh) { // the flow itself has changed: it is not kept waiting
      Object.assign(this.#due, { flow: 0, why: 0 });
      this.#again = true;
    }
    if (!id || !status) return;
    if (!this.moves.has(id)) this.moves.set(id, []);
    this.moves.get(id).push(entry);
    const ticket = this.tickets.get(id);
    if (fresh && ticket) this.tickets.set(id, { ...ticket, status, attempt: entry.attempt ?? ticket.attempt, worker_id: entry.worker_id ?? ticket.worker_id, reason: entry.detail.reason ?? ticket.reason, [MOMENTS[status] ?? 'moved_at']: at });
  }

  /** The status of the flow, and the last move of each ticket, after the entry with this `seq`. */
  at(seq) {
    const tickets = new Map();
    let flow = 'VALIDATING';
    for (const entry of this.entries) {
      if (entry.seq > seq) break;
      if (entry.ticket_id && entry.to_status) tickets.set(entry.ticket_id, entry);
      else flow = entry.to_status ?? flow;
    }
    return { seq, flow, tickets };
  }
}

const KINDS = { ASSIGNED: 'assigned', RUNNING: 'working', PENDING: 'retrying', WAITING: 'waiting', COMPENSATING: 'working' };

/** The time of a ticket until `at` as `[{kind, from, until}]`: blocked (by others), waiting, assigned, working, retrying, slack. */
export function segments(ticket, run, at) {
  const list = [];
  const add = (kind, from, until) => { if (kind && until > from) list.push({ kind, from, until }); };
  const moves = run.moves.get(ticket.ticket_id) ?? [];
  const over = ENDED.has(ticket.status) ? time(ticket.completed_at ?? moves.at(-1)?.at) : at;
  const first = moves.length ? time(moves[0].at) : over;
  const before = ticket.dependencies.map((id) => run.tickets.get(id)).filter(Boolean);
  const ready = before.every(({ status }) => ENDED.has(status)) ? Math.max(time(ticket.created_at), ...before.map((one) => time(one.completed_at) || 0)) : first;
  add('blocked', time(ticket.created_at), Math.min(ready, first));
  add('waiting', ready, first);
  const last = moves.findLastIndex((move) => move.to_status === 'ASSIGNED');
  moves.forEach((move, index) => {
    const from = time(move.at), until = index + 1 < moves.length ? time(moves[index + 1].at) : over;
    // The report of the end may be the first one: the history has no start then, but the ticket has.
    const started = index === last ? Math.min(Math.max(time(ticket.started_at) || until, from), until) : until;
    add(KINDS[move.to_status], from, started);
    if (index === last) add('working', started, until);
  });
  add('slack', over, time(ticket.sla.deadline));
  return list;
}
