// Workers: who takes tickets, how well, and who is to take none; all of them, or one.

import { doing } from '../lib/act.js';
import { api, path } from '../lib/api.js';
import { h } from '../lib/dom.js';
import { counted, percent, span, when } from '../lib/format.js';
import { badge, empty, facts, field, json, panel, parts, search, select, since, table, to, words, workerLink } from '../lib/ui.js';

const DOMAINS = ['BUILD', 'DEPLOY', 'TEST', 'VALIDATE', 'EXECUTE', 'QUERY', 'TRANSFORM'];
const MOST = 300;

const state = (one) => [badge(one.health), one.draining && [' ', badge('paused', 'draining')]];

/** How much a worker does, and how well, as `[name, cell, class]`. */
const MEASURES = [
  ['Slots used', ({ active_tickets: used, slots: all }) => h('div.slots', `${used} of ${all}`, parts([{ tone: used >= all ? 'warn' : 'busy', count: used, label: 'used' }, { tone: 'none', count: Math.max(0, all - used), label: 'free' }]))],
  ['Breaker', (one) => badge(one.breaker, [one.breaker.replace('_', ' '), one.suspended_until && [' until ', since(one.suspended_until)]])],
  ['Pheromone', (one) => score(one.pheromone)],
  ['Success', (one) => score(one.telemetry.success_rate)],
  ['Takes', ({ telemetry: { avg_duration_ms: takes, latency_ms: answers } }) => [span(takes), answers !== null && h('div.small.soft', `answers in ${span(answers)}`)], 'wide'],
  ['Last beat', (one) => since(one.last_seen), 'nowrap'],
];

/** A share from 0 to 1, with a bar. */
const score = (value) => h('div.slots', percent(value), parts([{ tone: value < 0.5 ? 'bad' : value < 0.8 ? 'warn' : 'good', count: value ?? 0, label: 'good' }, { tone: 'none', count: 1 - (value ?? 0), label: 'not' }]));

/** The buttons of a worker; `gone` is called after it was removed. */
const commands = (worker, done, gone = done) => {
  const { worker_id: id, active_tickets: held } = worker, has = `It has ${held ? counted(held, 'ticket') : 'no ticket'} now.`;
  const move = (name, text) => doing(name, { title: `${name} ${id}`, text, done, run: async (values) => { await api.post(path`agents/${id}/` + name.toLowerCase(), values); } });
  return [worker.draining ? move('Undrain', 'It gets tickets again; those that wait for it are released.')
    : move('Drain', `It gets no new tickets, and finishes those that it has. ${has}`),
  doing('Remove', { title: `Remove ${id}`, risky: true, done: gone, run: ({ reason }) => api.remove(path`workers/${id}`, { reason }).then(() => `${id} is removed`),
    text: [has, held > 0 && 'Others get them at once, and a task that has begun may be done twice. Drain it first to let it finish.', 'A worker that still runs registers again by itself: stop its process, too.'] })];
};

const fits = ({ text = '' }) => (one) => {
  const all = [one.worker_id, one.endpoint, one.health, one.draining && 'draining', one.breaker, ...one.capabilities].join(' ').toLowerCase();
  return text.toLowerCase().split(/\s+/).every((word) => all.includes(word));
};

const alone = (one, ctx) => [
  h('div.row', h('h1.text', one.worker_id), state(one), h('span.grow'), commands(one, ctx.reload, () => ctx.go('/console/workers'))),
  one.doubt && h('p.warn.text', `Its last failure: ${one.doubt}`),
  panel('Facts', facts([...MEASURES.map(([name, cell]) => [name, cell(one)]), ['Capabilities', one.capabilities.map((name) => [h('code', name), ' '])], ['Gets tickets by', one.delivery === 'pull' ? 'asking for them' : 'messages to its endpoint'],
    ['Endpoint', one.endpoint && h('code', one.endpoint)], ['Failures in a row', one.failures], ['Tasks done', one.telemetry.total_executions], ['Registered', when(one.registered_at)]]), json(one)),
];

export const page = {
  live: true, every: 10,
  load(ctx) {
    const { worker_id: id } = ctx.params;
    return ctx.get(id ? path`workers/${id}` : 'workers', { domain: ctx.query.domain });
  },
  title: (said) => (said.items ? `Workers (${said.items.length})` : `${said.worker_id}: ${said.draining ? 'draining' : words(said.health)}`),
  view(said, ctx) {
    if (!said.items) return alone(said, ctx);
    const { items, unreadable } = said;
    const { query } = ctx, shown = items.filter(fits(query)), sum = (name) => items.reduce((all, one) => all + one[name], 0);
    if (!items.length) return [h('h1', 'Workers'), empty('No worker has registered', 'Tickets wait until a worker offers what they need. One that only waits, to try things out:', h('pre', 'flowc worker --simulate 1 --capability build'))];
    return [
      h('div.row', h('h1.grow', 'Workers'), h('span.soft', `${shown.length} of ${counted(items.length, 'worker')}, ${sum('active_tickets')} of ${sum('slots')} slots used`)),
      h('div.row.filters', search(ctx, 'text', 'Name, capability or state'), field('Pheromone in the domain', select([['', 'any'], ...new Set([...DOMAINS, query.domain].filter(Boolean))], query.domain ?? '', (domain) => ctx.set({ domain })))),
      unreadable.length > 0 && h('p.warn', `${counted(unreadable.length, 'worker')} cannot be read.`),
      shown.length ? table([
        ['Worker', (one) => [workerLink(one.worker_id), h('div.small.soft', one.agent_type === 'WORKER' ? one.delivery : words(one.agent_type))], 'name'],
        ['State', state],
        ['Capabilities', (one) => one.capabilities.map((name) => [h('code', name), ' ']), 'wide'],
        ...MEASURES.filter(([name]) => query.domain || name !== 'Pheromone'),
        ['Actions', (one) => h('div.acts', commands(one, ctx.reload)), 'wide'],
      ], shown.slice(0, MOST), (one) => ({ key: one.worker_id, href: to.worker(one.worker_id) }), 'Workers') : empty('No worker fits', 'Another state or a shorter text finds more.'),
    ];
  },
};
