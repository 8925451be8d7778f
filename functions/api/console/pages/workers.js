// Workers: who takes tickets, how well, and who is to take none.

import { again, doing, search } from '../lib/act.js';
import { api, path } from '../lib/api.js';
import { h } from '../lib/dom.js';
import { counted, percent, span } from '../lib/format.js';
import { badge, empty, field, link, parts, select, since, table } from '../lib/ui.js';

export const address = (id) => path`/console/workers/${id}`;
const DOMAINS = ['BUILD', 'DEPLOY', 'TEST', 'VALIDATE', 'EXECUTE', 'QUERY', 'TRANSFORM'];
const STATES = [['', 'all'], ['healthy', 'healthy'], ['degraded', 'degraded'], ['unhealthy', 'unhealthy'], ['draining', 'draining'], ['busy', 'no slot free'], ['open', 'breaker not closed']];
const MOST = 100;

export const state = (worker) => [badge(worker.health), worker.draining && [' ', badge('paused', 'draining')]];
export const breaker = (worker) => badge(worker.breaker, worker.breaker === 'closed' ? 'closed' : [worker.breaker.replace('_', ' '), worker.suspended_until && [' until ', since(worker.suspended_until)]]);
export const slots = ({ active_tickets: used, slots: all }) => h('div', { class: 'slots' }, `${used} of ${all}`,
  parts([{ tone: used >= all ? 'warn' : 'busy', count: used, label: 'used' }, { tone: 'free', count: Math.max(0, all - used), label: 'free' }]));
/** A share from 0 to 1, with a bar. */
export const score = (value) => (value === null || value === undefined ? h('span', { class: 'soft', title: 'not known yet' }, '–')
  : h('div', { class: 'slots' }, percent(value), parts([{ tone: value < 0.5 ? 'bad' : value < 0.8 ? 'warn' : 'good', count: value, label: 'good' }, { tone: 'free', count: 1 - value, label: 'not' }])));
export const latency = ({ telemetry: { avg_duration_ms: takes, latency_ms: answers } }) => [takes !== null && h('span', { title: 'average of its tasks' }, span(takes)),
  answers !== null && h('div', { class: 'small soft', title: 'how fast it answers' }, `answers in ${span(answers)}`), takes === null && answers === null && h('span', { class: 'soft' }, '–')];

const held = (worker) => (worker.active_tickets ? `It has ${counted(worker.active_tickets, 'ticket')} now` : 'It has no ticket now');

/** The buttons of a worker; `gone` is called after it was removed. */
export const commands = (worker, done, gone = done) => {
  const { worker_id: id, active_tickets: held } = worker;
  const has = `It has ${held ? counted(held, 'ticket') : 'no ticket'} now.`;
  const move = (name, text) => doing(name, { title: `${name} ${id}`, text, done, run: async (values) => { await api.post(path`/api/v1/agents/${id}/` + name.toLowerCase(), values); } });
  return [worker.draining ? move('Undrain', 'It gets tickets again; those that wait for it are released.')
    : move('Drain', `It gets no new tickets, and finishes those that it has. ${has} This stays so until it is undone or the worker leaves.`),
  doing('Remove', { title: `Remove ${id}`, risky: true, done: gone, run: ({ reason }) => api.remove(path`/api/v1/workers/${id}`, { reason }).then(() => `${id} is removed`),
    text: [has, held > 0 && 'Other workers get them at once: its reports on them do not count any more, and a task that has begun may be done twice. Drain it first to let it finish.', 'A worker that still runs registers again by itself: stop its process, too.'] })];
};

const fits = ({ text = '', state: wanted = '' }) => (worker) => {
  const all = [worker.worker_id, worker.endpoint, ...worker.capabilities].join(' ').toLowerCase();
  return text.toLowerCase().split(/\s+/).every((word) => all.includes(word)) && (!wanted || worker.health.toLowerCase() === wanted
    || (wanted === 'draining' && worker.draining) || (wanted === 'busy' && worker.active_tickets >= worker.slots) || (wanted === 'open' && worker.breaker !== 'closed'));
};

export const page = {
  live: true,
  load(ctx) {
    again(ctx, 10);
    return api.get('/api/v1/workers', { domain: ctx.query.domain }, ctx.signal);
  },
  title: ({ items }) => `Workers (${items.length})`,
  view({ items, unreadable }, ctx) {
    const shown = items.filter(fits(ctx.query));
    const used = items.reduce((sum, worker) => sum + worker.active_tickets, 0), all = items.reduce((sum, worker) => sum + worker.slots, 0);
    if (!items.length) return [h('h1', {}, 'Workers'), empty('No worker has registered', 'Tickets wait until a worker offers what they need. One that only waits, to try things out:',
      h('pre', {}, 'flowc worker --simulate 1 --capability build'), h('p', {}, 'With --call or --shell it does real work: flowc worker --help.'))];
    return [
      h('div', { class: 'row' }, h('h1', { class: 'grow' }, 'Workers'), h('span', { class: 'soft' }, `${counted(items.length, 'worker')}, ${used} of ${all} slots used`)),
      h('div', { class: 'row filters' }, search(ctx, 'text', 'Name or capability'), field('State', select(STATES, ctx.query.state ?? '', (value) => ctx.set({ state: value }))),
        field('Pheromone in the domain', select([['', 'choose…'], ...[...new Set([...DOMAINS, ctx.query.domain].filter(Boolean))].map((one) => [one, one])], ctx.query.domain ?? '', (value) => ctx.set({ domain: value })))),
      unreadable.length > 0 && h('p', { class: 'warn' }, `${counted(unreadable.length, 'worker')} cannot be read: ${unreadable.map((one) => one.record_id).join(', ')}`),
      shown.length ? table([
        ['Worker', (one) => [link(address(one.worker_id), one.worker_id), h('div', { class: 'small soft' }, one.agent_type === 'WORKER' ? one.delivery : `${one.agent_type.toLowerCase()}, gets no tickets`)], 'name'],
        ['State', state],
        ['Capabilities', (one) => one.capabilities.map((name) => [h('code', {}, name), ' ']), 'wide'],
        ['Slots used', slots],
        ['Breaker', breaker],
        ctx.query.domain && ['Pheromone', (one) => score(one.pheromone)],
        ['Success', (one) => score(one.telemetry.success_rate)],
        ['Takes', latency, 'wide'],
        ['Last beat', (one) => since(one.last_seen), 'nowrap'],
        ['', (one) => h('div', { class: 'acts' }, commands(one, ctx.reload)), 'wide'],
      ].filter(Boolean), shown.slice(0, MOST), (one) => ({ key: one.worker_id, href: address(one.worker_id) }), 'Workers') : empty('No worker fits', 'Another state or a shorter text finds more.'),
      shown.length > MOST && h('p', { class: 'soft' }, `${MOST} of ${shown.length} are shown: a name or a capability finds the others.`),
    ];
  },
};
