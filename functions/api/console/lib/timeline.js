// The timeline of a flow: where the time of each ticket went, how much slack it has left, and the deadline as a line.

import { h } from './dom.js';
import { local, now, span } from './format.js';
import { ENDED, segments, slackOf, tookOf } from './run.js';
import { parts, select, ticketLink, tone, words } from './ui.js';
import { virtual } from './virtual.js';

const ROW = 27;
const KINDS = { blocked: 'waits for others', waiting: 'waiting', assigned: 'assigned', working: 'working', retrying: 'retrying', slack: 'slack left' };
const TONES = { waiting: 'warn', assigned: 'plain', working: 'busy', retrying: 'bad' };
const ORDERS = { start: (one) => one.begun, plan: () => 0, longest: (one) => -one.sums.working, waited: (one) => -one.sums.waiting, slack: (one) => one.slack ?? Infinity };
const NAMES = [['start', 'by start'], ['plan', 'as in the plan'], ['longest', 'longest work first'], ['waited', 'longest wait first'], ['slack', 'least slack first']];

export function timeline(ctx, run) {
  const { order = 'start', scale = 'run', q = '' } = ctx.query;
  const { flow } = run, begun = Date.parse(flow.received_at), deadline = Date.parse(flow.sla_deadline), at = flow.ended_at ? Date.parse(flow.ended_at) : now();
  const until = (scale === 'run' ? at : Math.max(at, deadline)) + (at - begun) * 0.02 + 1;
  const x = (moment) => Math.min(100, Math.max(0, ((moment - begun) / (until - begun)) * 100));
  const by = ORDERS[order] ?? ORDERS.plan;
  const rows = measured(ctx, run, at).filter(({ ticket }) => ticket.task_id.toLowerCase().includes(q.toLowerCase())).sort((a, b) => by(a) - by(b) || 0);
  const sums = Object.keys(TONES).map((kind) => [kind, rows.reduce((sum, one) => sum + one.sums[kind], 0)]);
  return [
    h('div', { class: 'row small' }, select(NAMES, order, (value) => ctx.set({ order: value }), { 'aria-label': 'Order' }),
      select([['run', `until ${flow.ended_at ? 'its end' : 'now'}`], ['deadline', 'until the deadline']], scale, (value) => ctx.set({ scale: value }), { 'aria-label': 'Scale' }),
      h('input', { type: 'search', 'data-search': true, value: q, placeholder: 'Find a task', 'aria-label': 'Find a task', oninput: (event) => ctx.set({ q: event.target.value }) })),
    h('div', { class: 'small' }, parts(sums.map(([kind, ms]) => ({ tone: TONES[kind], count: ms, label: `ms ${kind}` }))),
      h('div', { class: 'legend soft' }, sums.map(([kind, ms]) => h('span', {}, h('i', { class: `key ${kind}` }), ` ${kind} ${span(ms)}`)), h('span', {}, h('i', { class: 'key slack' }), ' slack left, to the deadline of the ticket'), '◆ critical path')),
    virtual(ctx, 'rows', rows, ROW, (one) => row(one, x), 'Time of each ticket', axis(begun, until, deadline, x)),
  ];
}

/** Each ticket with its segments and their sums; kept while nothing has changed. */
function measured(ctx, run, at) {
  const kept = ctx.local.measured ??= {};
  if (kept.run !== run.entries.length || kept.readings !== run.readings || kept.size !== run.tickets.size || at - kept.at > 900) {
    kept.rows = [...run.tickets.values()].map((ticket) => {
      const list = segments(ticket, run, at), sums = Object.fromEntries(Object.keys(KINDS).map((kind) => [kind, 0]));
      for (const { kind, from, until } of list) sums[kind] += until - from;
      return { ticket, list, sums, begun: list.find(({ kind }) => kind === 'assigned' || kind === 'working')?.from ?? Infinity, slack: slackOf(ticket) };
    });
    Object.assign(kept, { at, run: run.entries.length, readings: run.readings, size: run.tickets.size });
  }
  return kept.rows;
}

function axis(begun, until, deadline, x) {
  const unit = 10 ** Math.floor(Math.log10((until - begun) / 4)), whole = until - begun;
  const step = whole < 240_000 ? unit * ([2, 5, 10].find((one) => one * unit * 6 >= whole) ?? 10) : [60, 120, 300, 600, 1800, 3600, 7200, 21_600].map((s) => s * 1000).find((ms) => ms * 6 >= whole) ?? 86_400_000 * Math.ceil(whole / 6 / 86_400_000);
  const marks = Array.from({ length: Math.ceil(whole / step) }, (_, index) => h('span', { class: 'mark', style: { left: `${x(begun + index * step)}%` } }, index ? span(index * step) : '0'));
  return h('div', { class: 'axis' }, h('div', { class: 'bars' }, marks, deadline <= until ? h('span', { class: 'deadline', style: { left: `${x(deadline)}%` }, title: local(deadline) }, h('b', {}, 'deadline'))
    : h('span', { class: 'beyond' }, `deadline in ${span(deadline - until)} →`)));
}

function row({ ticket, list, sums, slack }, x) {
  const over = ENDED.has(ticket.status), took = tookOf(ticket);
  const told = Object.keys(TONES).concat('blocked').filter((kind) => sums[kind] > 0).map((kind) => `${KINDS[kind]} ${span(sums[kind])}`);
  const title = [ticket.task_id, words(ticket.status), ...told, !over && `slack ${span(slack)}`, `deadline ${local(ticket.sla.deadline)}`, ticket.worker_id && `worker ${ticket.worker_id}`].filter(Boolean).join('\n');
  return h('div', { class: 'line time', role: 'listitem', key: ticket.ticket_id, title },
    h('span', { class: 'name' }, ticket.critical && '◆ ', ticketLink(ticket.ticket_id, ticket.task_id)),
    h('span', { class: 'bars', role: 'img', 'aria-label': told.join(', ') || 'nothing yet' }, list.map(({ kind, from, until }) => h('i', { class: kind, style: { left: `${x(from)}%`, width: `${x(until) - x(from)}%` } }))),
    h('span', { class: `took ${tone(ticket.status)}` }, slack !== null && slack < 0 ? `${span(-slack)} late` : over && took !== null ? span(took) : words(ticket.status)));
}
