// One flow: how it stands against its SLA, why it waits, its graph, its time, its history, its data.

import { commandButtons, isOpen } from '../lib/commands.js';
import { h } from '../lib/dom.js';
import { count, percent, short, span, when } from '../lib/format.js';
import { graph } from '../lib/graph.js';
import { ENDED, Run } from '../lib/run.js';
import { timeline } from '../lib/timeline.js';
import { badge, copy, empty, facts, link, panel, parts, slaBar, tabs, ticketLink, tone, trouble, words } from '../lib/ui.js';
import { compare } from './flow/compare.js';
import { data } from './flow/data.js';
import { history } from './flow/history.js';

const TABS = [['graph', 'Graph'], ['timeline', 'Timeline'], ['history', 'History'], ['data', 'Data and logs'], ['compare', 'Compare']];
const VIEWS = { graph: (ctx, run) => graph(ctx, run), timeline, history, data, compare };

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
    const tab = VIEWS[ctx.query.tab] ? ctx.query.tab : 'graph', known = run.tickets.size, all = run.flow.tickets_generated;
    return [
      run.error && trouble(run.error, ctx.reload), head(run, ctx), why(run), steps(run.flow), tabs(ctx, 'tab', TABS, tab),
      known < all && !run.complete && h('p', { class: 'soft small', role: 'status' }, `Reading tickets: ${count(known)} of ${count(all)}`),
      known || tab === 'data' || tab === 'history' ? h('div', { class: 'grid-1', key: tab }, VIEWS[tab](ctx, run))
        : run.complete && empty('No tickets', run.flow.status === 'AWAITING_APPROVAL' ? 'They are made when a person has approved the flow.' : 'C2 makes them from a plan that C1 has found valid.'),
    ];
  },
};

function head(run, ctx) {
  const { flow, tickets } = run, live = tickets.size === flow.tickets_generated; // the history brings tickets up to date sooner
  const counts = live ? [...Map.groupBy(tickets.values(), (ticket) => ticket.status)].map(([status, list]) => [status, list.length]) : Object.entries(flow.tickets_by_status);
  const tally = counts.filter(([, number]) => number).map(([status, number]) => ({ tone: tone(status), count: number, label: words(status) }));
  const told = (list, name) => list.map((one) => h('p', { class: `text small ${name}` }, `${one.code}: ${one.message}${one.where ? ` (${one.where})` : ''}`));
  return h('section', { class: 'panel head' },
    h('div', { class: 'row' }, h('h1', { class: 'grow text' }, flow.plan_id ?? flow.decision_id), badge(flow.status), slaBar(flow)),
    parts(tally), h('p', { class: 'small soft' }, tally.map(({ count: number, label }) => `${count(number)} ${label}`).join(' · ') || 'no tickets yet'), told(flow.reasons, 'bad'), told(flow.warnings, 'warn'),
    facts([['Priority', words(flow.priority)], ['Risk', words(flow.risk_band)], ['Critical path', critical(run)], ['Deadline', when(flow.sla_deadline)], ['Started', when(flow.received_at, { ago: true })],
      ['Took', flow.ended_at && span(flow.total_duration_ms)], ['Retries', flow.retries || null], ['Moved to another worker', flow.reassignments || null],
      ...['decision_id', 'intent_id', 'flow_id'].map((name) => [words(name).replace(' id', ''), flow[name] && short(flow[name], 18)]),
      ['Labels', Object.entries(flow.labels).map(([name, value]) => link(`/console/flows?label=${encodeURIComponent(`${name}:${value}`)}`, h('span', { class: 'badge' }, `${name}: ${value}`)))]].filter(([, content]) => content?.length !== 0)),
    h('div', { class: 'row' }, commandButtons('flow', flow, ctx.reload), asCommand(flow)));
}

/** The critical path as C2 computed it from the estimates, and how much of it is still to be done. */
function critical({ flow, tickets, complete }) {
  if (flow.critical_path_ms === null) return null;
  const tasks = [...tickets.values()].filter((ticket) => ticket.critical && !ticket.parent);
  const left = complete && isOpen(flow) ? tasks.reduce((sum, ticket) => sum + (ENDED.has(ticket.status) ? 0 : ticket.estimated_duration_ms), 0) : 0;
  return h('span', { title: tasks.map((ticket) => ticket.task_id).join(' → ').slice(0, 2000) }, `◆ ${span(flow.critical_path_ms)} estimated${left ? `, ${span(left)} of it to do` : ''}`);
}

function why({ why: said, flow }) {
  if (!said) return panel('Why', h('p', { class: 'loading' }, 'Asking…'));
  return h('section', { class: `panel why ${isOpen(flow) ? tone(flow.announced === 'on_track' ? 'waiting' : flow.announced) : tone(flow.status)}` },
    h('details', { open: flow.status !== 'COMPLETED' }, h('summary', {}, h('h2', {}, 'Why: '), h('span', { class: 'text' }, said.headline)),
      h('ul', {}, said.details.map((line) => h('li', { class: 'text' }, line))), said.then && h('p', { class: 'text' }, h('b', {}, 'Then: '), said.then),
      said.last_events.filter((one) => one.ticket_id).slice(-3).map((one) => h('p', { class: 'small soft', key: one.seq }, when(one.at, { ago: true }), ' ', ticketLink(one.ticket_id, one.task_id ?? one.ticket_id), ` ${words(one.to_status ?? one.type)}: ${one.cause}`))));
}

const steps = (flow) => h('ol', { class: 'steps', 'aria-label': 'Steps' }, flow.steps.map((step) => h('li', { class: tone(step.status), title: [step.started_at, step.completed_at].filter(Boolean).join(' to ') },
  h('div', {}, h('b', {}, step.step), ` ${words(step.name)}`), h('span', { class: 'badge' }, step.status === 'skipped' && isOpen(flow) ? 'not yet' : words(step.status)),
  h('span', { class: 'soft small' }, [step.duration_ms !== null && ` ${span(step.duration_ms)}`, step.attempts > 1 && ` · ${count(step.attempts)} times`]))));

/** The same for a terminal. No command has a key in it. */
function asCommand({ flow_id: id, ...flow }) {
  const more = `--url ${location.origin}`;
  const list = [`flowc show ${id} ${more}`, `flowc why ${id} ${more}`, `flowc logs ${id} ${more}`, `flowc result ${id} ${more}`, isOpen(flow) && `flowc replan ${id} plan.json --dry-run ${more}`, `curl -s -H "X-API-Key: $FLOWC_API_KEY" '${location.origin}/api/v1/flows/${id}'`];
  return h('details', { class: 'json as' }, h('summary', {}, 'As a command', isOpen(flow) && ', to see it or to go on by another plan'), list.filter(Boolean).map((text) => h('p', { class: 'row small' }, h('code', { class: 'grow text' }, text), copy(text))));
}
