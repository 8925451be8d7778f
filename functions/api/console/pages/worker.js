// A worker: all that is known of it, its tickets now and lately, and the tickets that it did not get.

import { again } from '../lib/act.js';
import { api, path } from '../lib/api.js';
import { h } from '../lib/dom.js';
import { percent, span, when } from '../lib/format.js';
import { badge, empty, facts, flowLink, json, panel, since, table, ticketLink, words } from '../lib/ui.js';
import { breaker, commands, latency, score, slots, state } from './workers.js';

const FLOWS = 15; // flows whose tickets are looked at for what it did lately
const LATELY = 20_000;

/** Its tickets in the newest flows, the newest first, and those of all flows that left it out. */
async function past(id, signal) {
  const [{ items: flows }, { items: waiting }] = await Promise.all([api.get('/api/v1/flows', { limit: FLOWS }, signal), api.get('/api/v1/tickets', { status: 'PENDING', limit: 500 }, signal)]);
  const pages = await Promise.all(flows.map((flow) => api.get('/api/v1/tickets', { flow_id: flow.flow_id, worker_id: id, limit: 50 }, signal)));
  const items = pages.flatMap((page) => page.items).filter((ticket) => ticket.completed_at).sort((a, b) => (a.completed_at < b.completed_at ? 1 : -1));
  const domains = [...new Set(items.map((ticket) => ticket.domain ?? ticket.task_type))].slice(0, 3);
  const scores = await Promise.all(domains.map(async (domain) => [domain, (await api.get(path`/api/v1/workers/${id}`, { domain }, signal)).pheromone]));
  const refused = waiting.flatMap((ticket) => [...ticket.refusals.filter((one) => one.worker_id === id).map(({ reason }) => ({ ticket, reason })),
    ...(ticket.excluded_workers.includes(id) ? [{ ticket, reason: 'it failed at it before' }] : [])]);
  return { at: performance.now(), ended: items.slice(0, 50), scores, refused };
}

export const page = {
  live: (change, loaded) => Boolean(change.ticket_id) && Boolean(loaded),
  async load(ctx) {
    const id = ctx.params.worker_id;
    again(ctx, 10);
    const open = (status) => api.get('/api/v1/tickets', { worker_id: id, status, limit: 100 }, ctx.signal);
    const [worker, running, assigned] = await Promise.all([api.get(path`/api/v1/workers/${id}`, {}, ctx.signal), open('RUNNING'), open('ASSIGNED')]);
    if (!(performance.now() - ctx.local.past?.at < LATELY)) ctx.local.past = await past(id, ctx.signal);
    return { worker, now: [...running.items, ...assigned.items], ...ctx.local.past };
  },
  title: ({ worker }) => `${worker.worker_id}: ${worker.draining ? 'draining' : words(worker.health)}`,
  view({ worker, now, ended, scores, refused }, ctx) {
    const { telemetry } = worker;
    const columns = [
      ['Ticket', (one) => [ticketLink(one.ticket_id, one.task_id), h('div', { class: 'small soft text' }, one.description)], 'name'],
      ['Status', (one) => badge(one.status)],
      ['Attempt', (one) => one.attempt, 'right wide'],
      ['Flow', (one) => flowLink(one.flow_id), 'wide'],
    ];
    const row = (one) => ({ key: one.ticket_id, href: path`/console/tickets/${one.ticket_id}` });
    return [
      h('div', { class: 'row' }, h('h1', { class: 'text' }, worker.worker_id), state(worker), h('span', { class: 'grow' }), h('div', { class: 'row' }, commands(worker, ctx.reload, () => ctx.go('/console/workers')))),
      worker.doubt && h('p', { class: 'warn text' }, `Its last failure: ${worker.doubt}`),
      panel('Facts', facts([['Slots used', slots(worker)], ['Breaker', breaker(worker)], ['Success', score(telemetry.success_rate)], ['Takes', latency(worker)],
        ...scores.map(([domain, value]) => [`Pheromone ${domain}`, score(value)]), ['Last beat', since(worker.last_seen)], ['Capabilities', worker.capabilities.map((name) => [h('code', {}, name), ' '])],
        ['Clearance', words(worker.clearance)], ['Gets tickets by', worker.delivery === 'pull' ? 'asking for them' : 'messages to its endpoint'], ['Endpoint', worker.endpoint && h('code', {}, worker.endpoint)],
        ['Kind', words(worker.agent_type)],  ['Failures in a row', worker.failures], ['Successes since then', worker.successes], ['Says of itself', words(worker.reported)],
        ['Tasks done', telemetry.total_executions], ['CPU', telemetry.cpu !== null && percent(telemetry.cpu)], ['Memory', telemetry.memory !== null && percent(telemetry.memory)],
        ['Registered', when(worker.registered_at)]]), json(worker)),
      h('h2', {}, `Tickets now (${now.length})`),
      now.length ? table([...columns, ['Since', (one) => since(one.started_at ?? one.assigned_at), 'nowrap'],
        ['Slack', (one) => [badge(one.slack_state), ' ', one.slack_ms !== null && span(one.slack_ms)]]], now, row, 'Tickets now')
        : empty('It does nothing now', worker.draining ? 'It is drained: nothing new is given to it.' : 'It gets the next ticket for which it ranks best.'),
      h('h2', {}, 'Lately'),
      ended.length ? table([...columns, ['Ended', (one) => since(one.completed_at), 'nowrap'], ['Took', (one) => span(one.actual_duration_ms), 'right'],
        ['Error', (one) => one.error_message && h('span', { class: 'text bad' }, one.error_message), 'wide']], ended, row, 'Tickets lately')
        : h('p', { class: 'soft' }, `It ended no ticket of the newest ${FLOWS} flows.`),
      h('h2', {}, 'Did not get'),
      refused.length ? table([['Ticket', (one) => columns[0][1](one.ticket), 'name'], ['Why not', (one) => one.reason, 'say text']], refused.slice(0, 50), ({ ticket }) => row(ticket), 'Tickets that it did not get') : h('p', { class: 'soft' }, 'No ticket that waits now has left it out.'),
    ];
  },
};
