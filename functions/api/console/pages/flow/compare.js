// Two runs of the same plan side by side, what differs first.

import { api, path } from '../../lib/api.js';
import { h } from '../../lib/dom.js';
import { counted, local, span } from '../../lib/format.js';
import { tookOf } from '../../lib/run.js';
import { badge, empty, field, flowLink, panel, select, slaBar, table, words } from '../../lib/ui.js';
import { once, virtual } from '../../lib/virtual.js';

const SAME = 0.2; // work that took up to this share more or less counts as the same

export function compare(ctx, { flow, tickets }) {
  const runs = once(ctx, 'runs', async () => (await api.all('flows', { plan: flow.plan_id }, { most: 200 })).filter((one) => one.flow_id !== flow.flow_id));
  const id = ctx.query.other ?? runs?.[0]?.flow_id;
  const other = id && once(ctx, id, async () => ({ flow: await ctx.get(path`flows/${id}`), tickets: await api.all(path`flows/${id}/tickets`) }));
  const failed = [runs, other].find((one) => one instanceof Error);
  if (failed) return h('p.bad', { role: 'alert' }, failed.message);
  if (runs && !id) return empty('No other run of this plan', 'A plan runs again by a schedule, or when it is submitted under a new decision id.');
  if (!runs || !other) return h('p.loading', 'Reading…');
  const rows = pairs(tickets.values(), other.tickets);
  return [
    field('Compare with', select(runs.map((one) => [one.flow_id, `${words(one.status)} · ${local(one.received_at)} · ${one.decision_id}`]), id, (value) => ctx.set({ other: value }))),
    table([['Run', (one) => flowLink(one.flow_id, one === flow ? 'this run' : 'the other run')], ['Status', (one) => badge(one.status)], ['SLA', slaBar],
      ['Took', (one) => span(one.total_duration_ms)]], [flow, other.flow], undefined, 'Both runs'),
    panel(`${counted(rows.length, 'task')}, ${rows.filter(({ why }) => why).length} differ`, virtual(ctx, 'pairs', rows, 30, ({ task, left, right, why }) => h('div.line.pair', { role: 'listitem', key: task },
      h('span', { title: task }, task), side(left), side(right), h('b', why)), 'Tasks of both runs: this one, the other one')),
  ];
}

const side = (ticket) => h('span', ticket ? [badge(ticket.status), ` ${span(tookOf(ticket))} ${ticket.worker_id ?? ''}`] : '–');

function pairs(these, those) {
  const by = new Map(those.map((right) => [right.task_id, { right }]));
  for (const left of these) by.set(left.task_id, { ...by.get(left.task_id), left });
  return [...by].map(([task, pair]) => ({ task, ...pair, ...difference(pair) })).sort((a, b) => b.weight - a.weight);
}

/** What differs in words, and how much: the status before the time, the time before the worker. */
function difference({ left, right }) {
  if (!left || !right) return { why: `only in ${left ? 'this' : 'the other'} run`, weight: Infinity };
  const [mine, its] = [tookOf(left) ?? 0, tookOf(right) ?? 0], apart = Math.abs(mine - its);
  const status = left.status !== right.status, slower = apart > SAME * Math.max(mine, its), worker = left.worker_id !== right.worker_id;
  return { why: [status && 'status', slower && `${span(apart)} ${mine > its ? 'slower' : 'faster'}`, worker && 'worker'].filter(Boolean).join(', '), weight: status * 1e15 + slower * (1 + apart) + worker * 0.5 };
}
