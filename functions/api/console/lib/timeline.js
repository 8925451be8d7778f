// The timeline of a flow: the time of each ticket, its slack, and the deadline as a line.

import { h } from './dom.js';
import { local, now, span } from './format.js';
import { ENDED, segments, slackOf, tookOf } from './run.js';
import { search, select, ticketLink, tone, words } from './ui.js';
import { virtual } from './virtual.js';

const ROW = 27;
const KINDS = { blocked: 'waits for others', waiting: 'waiting', assigned: 'assigned', working: 'working', retrying: 'retrying', slack: 'slack left' };
const ORDERS = { start: ['by start', (one) => one.begun], plan: ['as in the plan', () => 0], slack: ['least slack first', (one) => one.slack ?? Infinity] };

/** Where moments from `begun` to `until` are, in per cent. */
export const scaled = (begun, until) => (moment) => Math.min(100, Math.max(0, ((moment - begun) / (until - begun)) * 100));
export function sumsOf(list) {
  const sums = {};
  for (const { kind, from, until } of list) sums[kind] = (sums[kind] ?? 0) + until - from;
  return sums;
}
const told = (sums) => Object.keys(KINDS).filter((kind) => sums[kind] > 0).map((kind) => `${KINDS[kind]} ${span(sums[kind])}`);
export const legend = (sums, ...more) => h('div.legend.small.soft', Object.keys(KINDS).filter((kind) => sums[kind] > 0).map((kind) => h('span', h('i', { class: `key ${kind}` }), ` ${KINDS[kind]} ${span(sums[kind])}`)), more);
export const bars = (list, x, ...more) => h('div.bars', { role: 'img', 'aria-label': told(sumsOf(list)).join(', ') || 'nothing yet' }, list.map(({ kind, from, until }) => h('i', { class: kind, style: { left: `${x(from)}%`, width: `${x(until) - x(from)}%` } })), more);

export function timeline(ctx, run) {
  const { order = 'start', scale = 'run', q = '' } = ctx.query;
  const { flow } = run, begun = Date.parse(flow.received_at), deadline = Date.parse(flow.sla_deadline), at = flow.ended_at ? Date.parse(flow.ended_at) : now();
  const until = (scale === 'run' ? at : Math.max(at, deadline)) + (at - begun) * 0.02 + 1, x = scaled(begun, until);
  const [, by] = ORDERS[order] ?? ORDERS.plan;
  const rows = measured(ctx, run, at).filter(({ ticket }) => ticket.task_id.toLowerCase().includes(q.toLowerCase())).sort((a, b) => by(a) - by(b) || 0);
  const sums = Object.fromEntries(Object.keys(KINDS).map((kind) => [kind, rows.reduce((sum, one) => sum + (one.sums[kind] ?? 0), 0)]));
  return [
    h('div.row.small', select(Object.entries(ORDERS).map(([name, [text]]) => [name, text]), order, (value) => ctx.set({ order: value }), { 'aria-label': 'Order' }),
      select([['run', `until ${flow.ended_at ? 'its end' : 'now'}`], ['deadline', 'until the deadline']], scale, (value) => ctx.set({ scale: value }), { 'aria-label': 'Scale' }), search(ctx, 'q', 'Find a task')),
    legend(sums, '◆ critical path'),
    virtual(ctx, 'rows', rows, ROW, (one) => row(one, x), 'Time of each ticket', axis(begun, until, deadline, x)),
  ];
}

/** Each ticket with its segments and their sums; kept while nothing has changed. */
function measured(ctx, run, at) {
  const kept = ctx.local.measured ??= {}, state = [run.entries.length, run.readings, run.tickets.size].join();
  if (kept.state !== state || at - kept.at > 900) {
    kept.rows = [...run.tickets.values()].map((ticket) => {
      const list = segments(ticket, run, at);
      return { ticket, list, sums: sumsOf(list), begun: list.find(({ kind }) => kind === 'assigned' || kind === 'working')?.from ?? Infinity, slack: slackOf(ticket) };
    });
    Object.assign(kept, { at, state });
  }
  return kept.rows;
}

const STEPS = [100, 500, 1000, 5000, 10_000, 30_000, 60_000, 300_000, 600_000, 3_600_000, 21_600_000, 86_400_000]; // milliseconds

function axis(begun, until, deadline, x) {
  const whole = until - begun, step = STEPS.find((ms) => ms * 6 >= whole) ?? whole / 6;
  const marks = Array.from({ length: Math.ceil(whole / step) }, (_, index) => h('span', { style: { left: `${x(begun + index * step)}%` } }, index ? span(index * step) : '0'));
  return h('div.axis', h('div.bars', marks, deadline <= until ? h('span.deadline', { style: { left: `${x(deadline)}%` }, title: local(deadline) }, h('b', 'deadline'))
    : h('span.beyond', `deadline in ${span(deadline - until)} →`)));
}

function row({ ticket, list, sums, slack }, x) {
  const over = ENDED.has(ticket.status), took = tookOf(ticket);
  const title = [ticket.task_id, words(ticket.status), ...told(sums), `deadline ${local(ticket.sla.deadline)}`, ticket.worker_id && `worker ${ticket.worker_id}`].filter(Boolean).join('\n');
  return h('div.line.time', { role: 'listitem', key: ticket.ticket_id, title },
    h('span.name', ticket.critical && '◆ ', ticketLink(ticket.ticket_id, ticket.task_id)), bars(list, x),
    h('span', { class: `took ${tone(ticket.status)}` }, slack !== null && slack < 0 ? `${span(-slack)} late` : over && took !== null ? span(took) : words(ticket.status)));
}
