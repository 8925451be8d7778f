// One flow: how it stands against its SLA, why it waits, its graph, its time, its history, its data.

import { commandButtons, isOpen } from '../lib/commands.js';
import { h } from '../lib/dom.js';
import { count, percent, span, when } from '../lib/format.js';
import { graph } from '../lib/graph.js';
import { predicted } from '../lib/predicted.js';
import { Run } from '../lib/run.js';
import { timeline } from '../lib/timeline.js';
import { asCommands, badge, because, empty, facts, link, panel, slaBar, tabs, tally, tone, trouble, words } from '../lib/ui.js';
import { changed } from './flow/changed.js';
import { compare } from './flow/compare.js';
import { data } from './flow/data.js';
import { history } from './flow/history.js';

const TABS = [['graph', 'Graph'], ['timeline', 'Timeline'], ['history', 'History'], ['data', 'Data and logs'], ['compare', 'Compare'], ['changed', 'What changed?']];
const VIEWS = { graph: (ctx, run) => graph(ctx, run), timeline, history, data, compare, changed };

export const page = {
  live: ({ flow_id: id }, run) => id === run?.id,
  async load({ local, params, signal, reload, render }) {
    if (!local.run) {
      const run = new Run(params.flow_id, signal, () => (run.error?.status === 401 ? reload() : render()));
      await run.begin();
      local.run = run;
    }
    if (local.run.error?.status === 401) throw local.run.error;
    local.run.refresh(); // it draws the page when there is more to show
    return local.run;
  },
  title: ({ flow }) => `${words(flow.status)}${isOpen(flow) && flow.tickets_generated ? ` ${percent((flow.tickets_completed + flow.tickets_failed) / flow.tickets_generated)}` : ''} · ${flow.plan_id ?? flow.decision_id}`,
  view(run, ctx) {
    const tab = Object.hasOwn(VIEWS, ctx.query.tab) ? ctx.query.tab : 'graph', { flow, why } = run, known = run.tickets.size, all = flow.tickets_generated;
    return [
      run.error && trouble(run.error, ctx.reload), head(run, ctx), why ? because('Why', why, isOpen(flow) ? (flow.announced === 'on_track' ? 'waiting' : flow.announced) : flow.status) : panel('Why', h('p.loading', 'Asking…')), steps(flow), tabs(ctx, 'tab', TABS, tab),
      known < all && !run.complete && h('p.soft.small', { role: 'status' }, `Reading tickets: ${count(known)} of ${count(all)}`),
      known || ['data', 'history', 'changed'].includes(tab) ? h('div.grid-1', { key: tab }, VIEWS[tab](ctx, run))
        : run.complete && empty('No tickets', flow.status === 'AWAITING_APPROVAL' ? 'They are made when a person has approved the flow.' : 'C2 makes them from a plan that C1 has found valid.'),
    ];
  },
};

function head(run, ctx) {
  const { flow, tickets } = run, id = flow.flow_id, live = tickets.size === flow.tickets_generated; // the history brings tickets up to date sooner
  const counts = live ? Object.fromEntries([...Map.groupBy(tickets.values(), (ticket) => ticket.status)].map(([status, list]) => [status, list.length])) : flow.tickets_by_status;
  const told = (list, name) => list.map((one) => h('p', { class: `text small ${name}` }, `${one.code}: ${one.message}${one.where ? ` (${one.where})` : ''}`));
  return h('section.panel.head',
    h('div.row', h('h1.grow.text', flow.plan_id ?? flow.decision_id), badge(flow.status), slaBar(flow)),
    tally(counts, flow.tickets_generated), told(flow.reasons, 'bad'), told(flow.warnings, 'warn'),
    facts([['Priority', words(flow.priority)], ['Risk', words(flow.risk_band)], ['Critical path', critical(run)], ['Deadline', when(flow.sla_deadline)], ['Started', when(flow.received_at, { ago: true })],
      ['Took', flow.ended_at && span(flow.total_duration_ms)], ['Predicted', predicted(flow.prediction, flow.ended_at && flow.total_duration_ms)], ['Retries', flow.retries || null],
      ...['decision_id', 'intent_id', 'flow_id'].map((name) => [words(name).replace(' id', ''), flow[name] && h('code', flow[name])]),
      ['Labels', Object.entries(flow.labels).map((pair) => link(`/console/flows?label=${encodeURIComponent(pair.join(':'))}`, h('span.badge', pair.join(': '))))]]),
    h('div.row', commandButtons('flow', [flow], ctx.reload), asCommands([`flowc show ${id}`, `flowc why ${id}`, `flowc logs ${id}`, `flowc replan ${id} plan.json --dry-run`], `flows/${id}`)));
}

/** The critical path as C2 computed it from the estimates. */
const critical = ({ flow, tickets }) => flow.critical_path_ms !== null && h('span', { title: [...tickets.values()].filter((ticket) => ticket.critical && !ticket.parent).map((ticket) => ticket.task_id).join(' → ').slice(0, 2000) }, `◆ ${span(flow.critical_path_ms)} estimated`);

const steps = (flow) => h('ol.steps', { 'aria-label': 'Steps' }, flow.steps.map((step) => h('li', { class: tone(step.status) },
  h('div', h('b', step.step), ` ${words(step.name)}`), h('span.badge', step.status === 'skipped' && isOpen(flow) ? 'not yet' : words(step.status)),
  h('span.soft.small', [step.duration_ms !== null && ` ${span(step.duration_ms)}`, step.attempts > 1 && ` · ${count(step.attempts)} times`]))));
