// A worker: all that is known of it, and its tickets.

import { again } from '../lib/act.js';
import { api, path } from '../lib/api.js';
import { h } from '../lib/dom.js';
import { span, when } from '../lib/format.js';
import { badge, empty, facts, flowLink, json, panel, since, table, ticketLink, words } from '../lib/ui.js';
import { commands, MEASURES, state } from './workers.js';

export const page = {
  live: (change, loaded) => Boolean(change.ticket_id) && Boolean(loaded),
  async load(ctx) {
    const id = ctx.params.worker_id, open = (status) => api.get('/api/v1/tickets', { worker_id: id, status, limit: 100 }, ctx.signal);
    again(ctx, 10);
    const [running, assigned] = await Promise.all([open('RUNNING'), open('ASSIGNED')]), tickets = [...running.items, ...assigned.items];
    return { tickets, worker: await api.get(path`/api/v1/workers/${id}`, { domain: ctx.query.domain ?? tickets[0]?.task_type }, ctx.signal) };
  },
  title: ({ worker }) => `${worker.worker_id}: ${worker.draining ? 'draining' : words(worker.health)}`,
  view: ({ worker, tickets }, ctx) => [
    h('div', { class: 'row' }, h('h1', { class: 'text' }, worker.worker_id), state(worker), h('span', { class: 'grow' }), commands(worker, ctx.reload, () => ctx.go('/console/workers'))),
    worker.doubt && h('p', { class: 'warn text' }, `Its last failure: ${worker.doubt}`),
    panel('Facts', facts([...MEASURES.map(([name, cell]) => [name, cell(worker)]), ['Capabilities', worker.capabilities.map((name) => [h('code', {}, name), ' '])], ['Gets tickets by', worker.delivery === 'pull' ? 'asking for them' : 'messages to its endpoint'],
      ['Endpoint', worker.endpoint && h('code', {}, worker.endpoint)], ['Failures in a row', worker.failures], ['Tasks done', worker.telemetry.total_executions], ['Registered', when(worker.registered_at)]]), json(worker)),
    h('h2', {}, 'Tickets'),
    tickets.length ? table([
      ['Ticket', (one) => [ticketLink(one.ticket_id, one.task_id), h('div', { class: 'small soft text' }, one.description)], 'name'],
      ['Status', (one) => badge(one.status)],
      ['Flow', (one) => flowLink(one.flow_id), 'wide'],
      ['Since', (one) => since(one.started_at ?? one.assigned_at), 'nowrap'],
      ['Slack', (one) => [badge(one.slack_state), ' ', span(one.slack_ms)]]], tickets, (one) => ({ key: one.ticket_id, href: path`/console/tickets/${one.ticket_id}` }), 'Tickets')
      : empty('It does nothing now', worker.draining ? 'It is drained: nothing new is given to it.' : 'It gets the next ticket for which it ranks best.'),
  ],
};
