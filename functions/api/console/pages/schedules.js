// Schedules: decisions that are submitted again and again.

import { again, doing, found, pager, REASON } from '../lib/act.js';
import { address, api, path } from '../lib/api.js';
import { h } from '../lib/dom.js';
import { counted, span, when } from '../lib/format.js';
import { badge, button, empty, facts, flowLink, json, link, panel, since, table, words } from '../lib/ui.js';

const LAST = 5;
const here = (name) => `/console/schedules?name=${encodeURIComponent(name)}`;
const state = (one) => badge(one.state === 'ACTIVE' ? 'ok' : one.state, words(one.state));
const rhythm = (one) => (one.cron ? [h('code', {}, one.cron), ` ${one.zone}`] : one.every_seconds ? `every ${span(one.every_seconds * 1000)}` : 'at moments');
const outcome = (run) => badge(run.status ?? (['MISSED', 'REFUSED'].includes(run.result) ? 'failed' : run.result), words(run.status ?? run.result));

function commands(one, done) {
  const doIt = (title, verb, text, { fields = [], body, method = 'post', risky, says } = {}) => doing(title, { title: `${title}: ${one.name}`, text, risky, done, fields: [...fields, REASON],
    run: async ({ reason, ...values }) => {
      const route = address(path`/api/v1/schedules/${one.name}` + verb, { reason });
      const answer = await (method === 'post' ? api.post(route, body?.(values, reason)) : api.remove(route));
      return says?.(answer);
    } });
  return [
    one.state === 'PAUSED' ? doIt('Resume', '/resume', 'It goes on with the moments to come.')
      : one.state === 'ACTIVE' && doIt('Pause', '/pause', 'Nothing is started any more, also no runs that wait. Moments that pass meanwhile are not made up for.', { body: (_, reason) => ({ note: reason }) }),
    doIt('Run now', '/run', 'One run begins now, whatever goes on.', { says: ({ flow_id: id }) => [h('p', {}, 'The run has begun: ', flowLink(id))] }),
    doIt('Backfill', '/backfill', 'The runs of moments of the past are made, from the first on. What ran at its moment does not run again.', {
      fields: [{ name: 'first', label: 'From', kind: 'time', required: true }, { name: 'last', label: 'Until', kind: 'time', required: true }, { name: 'at_once', label: 'At once', kind: 'integer', least: 1, most: 10, value: 1, required: true }],
      body: (values) => values, says: ({ runs }) => `${counted(runs, 'run')} will be made` }),
    one.backfill && doIt('Stop the backfill', '/backfill', 'No further runs of the past begin; those that have begun go on.', { method: 'remove' }),
    doIt('Delete', '', 'It is forgotten with its history; flows that it has started go on.', { method: 'remove', risky: true }),
  ].filter(Boolean);
}

const detail = (one, runs, ctx) => panel(one.name, h('p', {}, state(one), ' ', one.state === 'ACTIVE' && one.next_at ? ['runs next ', since(one.next_at)] : one.why), one.note && h('p', { class: 'text' }, `Note: ${one.note}`), h('div', { class: 'row' }, commands(one, ctx.reload), h('span', { class: 'grow' }), button('Close', () => ctx.set({ name: '' }), { class: 'quiet' })),
  facts([['Runs', rhythm(one)], ['While a run goes on', words(one.overlap)], ['SLA of a run', one.sla_seconds && span(one.sla_seconds * 1000)], ['Jitter', one.jitter_seconds ? span(one.jitter_seconds * 1000) : null],
    ['From', one.enabled_from && when(one.enabled_from)], ['Until', one.enabled_until && when(one.enabled_until)], ['Without', one.exceptions.join(', ')], ['Late by at most', span(one.catch_up.seconds * 1000)], ['Running', one.running.length > 0 && one.running.map((id) => [flowLink(id), ' '])],
    ['Queued', one.queue.length || null], ['Backfill', one.backfill && ['next ', when(one.backfill.next), ' until ', when(one.backfill.until)]], ['Next', one.next_runs.slice(0, LAST).map((moment) => h('div', {}, when(moment)))]]),
  json(one.decision, { title: 'Decision' }),
  h('h3', {}, 'Last runs'), runs.length ? table([['Moment', (run) => when(run.moment), 'nowrap'], ['Status', outcome], ['Flow', (run) => (run.flow_id ? flowLink(run.flow_id) : '–')],
    ['Why', (run) => run.reason && h('span', { class: 'text' }, run.reason), 'say']], runs, (run) => ({ key: `${run.moment} ${run.number}` }), 'Last runs') : h('p', { class: 'soft' }, 'None yet.'));

export const page = {
  live: true,
  async load(ctx) {
    again(ctx, 30);
    const list = await api.get('/api/v1/schedules', { cursor: ctx.query.cursor, limit: 20 }, ctx.signal);
    const runs = Object.fromEntries(await Promise.all(list.items.map(async ({ name }) => [name, (await api.get(path`/api/v1/schedules/${name}/runs`, {}, ctx.signal)).items])));
    const { name } = ctx.query;
    const one = name && await found(api.get(path`/api/v1/schedules/${name}`, {}, ctx.signal));
    if (one) runs[name] ??= (await api.get(path`/api/v1/schedules/${name}/runs`, {}, ctx.signal)).items;
    return { ...list, runs, one };
  },
  title: ({ one, items }) => (one ? `${one.name}: ${words(one.state)}` : `Schedules (${items.length})`),
  view: ({ items, cursor, runs, one }, ctx) => [
    h('h1', {}, 'Schedules'),
    ctx.query.name && (one ? detail(one, runs[one.name], ctx) : h('p', { class: 'warn' }, `There is no schedule ${ctx.query.name}.`)),
    items.length ? table([
      ['Schedule', (line) => link(here(line.name), line.name), 'name'],
      ['State', state],
      ['Runs', rhythm, 'wide'],
      ['Next run', (line) => (line.next_run ? since(line.next_run) : h('span', { class: 'soft text' }, line.why))],
      ['Last runs, newest first', (line) => runs[line.name].slice(0, LAST).map((run) => [run.flow_id ? flowLink(run.flow_id, outcome(run)) : outcome(run), ' ']), 'say'],
      ['', (line) => h('div', { class: 'acts' }, commands(line, ctx.reload).slice(0, 2)), 'wide'],
    ], items, (line) => ({ key: line.name, href: here(line.name) }), 'Schedules')
      : empty('No schedule', 'A schedule submits a decision again and again, by a cron line or at an interval:', h('pre', {}, "flowc schedule put nightly decision.json --cron '0 3 * * *' --zone Europe/Berlin")),
    pager(ctx, cursor),
  ],
};
