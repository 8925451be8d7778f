// Schedules: decisions that are submitted again and again.

import { doing, pager } from '../lib/act.js';
import { address, api, path } from '../lib/api.js';
import { h } from '../lib/dom.js';
import { span } from '../lib/format.js';
import { badge, empty, flowLink, json, since, table, words } from '../lib/ui.js';

function commands(one, done) {
  const doIt = (name, text, run, risky) => doing(name, { title: `${name}: ${one.name}`, text, risky, done, run: ({ reason }) => run((verb) => address(path`/api/v1/schedules/${one.name}` + verb, { reason }), reason) });
  return h('div.acts',
    one.state === 'PAUSED' ? doIt('Resume', 'It goes on with the moments to come.', async (route) => { await api.post(route('/resume')); })
      : one.state === 'ACTIVE' && doIt('Pause', 'Nothing is started any more, also no runs that wait. Moments that pass meanwhile are not made up for.', async (route, note) => { await api.post(route('/pause'), { note }); }),
    doIt('Run now', 'One run begins now, whatever goes on.', async (route) => [h('p', 'The run has begun: ', flowLink((await api.post(route('/run'))).flow_id))]),
    doIt('Delete', 'It is forgotten with its history; flows that it has started go on.', async (route) => { await api.remove(route('')); }, true));
}

export const page = {
  live: true, every: 30,
  load: (ctx) => ctx.get('/api/v1/schedules', { cursor: ctx.query.cursor, limit: 50 }),
  title: ({ items }) => `Schedules (${items.length})`,
  view: ({ items, cursor }, ctx) => [
    h('h1', 'Schedules'),
    items.length ? table([
      ['Schedule', (one) => [h('b.text', one.name), json(one, { title: 'all' })], 'name'],
      ['State', (one) => [badge(one.state === 'ACTIVE' ? 'ok' : one.state, words(one.state)), one.note && h('div.small.text', one.note)]],
      ['Runs', (one) => (one.cron ? [h('code', one.cron), ` ${one.zone}`] : one.every_seconds ? `every ${span(one.every_seconds * 1000)}` : 'at moments'), 'wide'],
      ['Next run', (one) => (one.next_run ? since(one.next_run) : h('span.soft.text', one.why))],
      ['', (one) => commands(one, ctx.reload)],
    ], items, (one) => ({ key: one.name }), 'Schedules')
      : empty('No schedule', 'A schedule submits a decision again and again, by a cron line or at an interval:', h('pre', "flowc schedule put nightly decision.json --cron '0 3 * * *' --zone Europe/Berlin")),
    pager(ctx, cursor),
  ],
};
