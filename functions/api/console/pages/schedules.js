// Schedules: decisions that are submitted again and again.

import { doing, found, pager } from '../lib/act.js';
import { address, api, path } from '../lib/api.js';
import { h } from '../lib/dom.js';
import { span, when } from '../lib/format.js';
import { badge, button, empty, facts, flowLink, json, link, panel, since, table, words } from '../lib/ui.js';

const here = (name) => `/console/schedules?name=${encodeURIComponent(name)}`;
const state = (one) => badge(one.state === 'ACTIVE' ? 'ok' : one.state, words(one.state));
const rhythm = (one) => (one.cron ? [h('code', one.cron), ` ${one.zone}`] : one.every_seconds ? `every ${span(one.every_seconds * 1000)}` : 'at moments');

function commands(one, done) {
  const doIt = (name, text, run, risky) => doing(name, { title: `${name}: ${one.name}`, text, risky, done, run: ({ reason }) => run((verb) => address(path`/api/v1/schedules/${one.name}` + verb, { reason }), reason) });
  return [
    one.state === 'PAUSED' ? doIt('Resume', 'It goes on with the moments to come.', async (route) => { await api.post(route('/resume')); })
      : one.state === 'ACTIVE' && doIt('Pause', 'Nothing is started any more, also no runs that wait. Moments that pass meanwhile are not made up for.', async (route, note) => { await api.post(route('/pause'), { note }); }),
    doIt('Run now', 'One run begins now, whatever goes on.', async (route) => [h('p', 'The run has begun: ', flowLink((await api.post(route('/run'))).flow_id))]),
    doIt('Delete', 'It is forgotten with its history; flows that it has started go on.', async (route) => { await api.remove(route('')); }, true),
  ];
}

const detail = ({ one, runs }, ctx) => panel(one.name, h('p', state(one), ' ', one.state === 'ACTIVE' && one.next_at ? ['runs next ', since(one.next_at)] : one.why), one.note && h('p.text', `Note: ${one.note}`), h('div.row', commands(one, ctx.reload), h('span.grow'), button('Close', () => ctx.set({ name: '' }), { class: 'quiet' })),
  facts([['Runs', rhythm(one)], ['While a run goes on', words(one.overlap)], ['Next', one.next_runs.slice(0, 5).map((moment) => h('div', when(moment)))]]), json(one, { title: 'All of it' }),
  h('h3', 'Last runs'), table([['Moment', (run) => when(run.moment), 'nowrap'], ['Status', (run) => badge(run.status ?? (/MISSED|REFUSED/.test(run.result) ? 'failed' : run.result), words(run.status ?? run.result))],
    ['Flow', (run) => run.flow_id && flowLink(run.flow_id)], ['Why', (run) => run.reason, 'say text']], runs, (run) => ({ key: `${run.moment} ${run.number}` }), 'Last runs'));

export const page = {
  live: true, every: 30,
  async load(ctx) {
    const { name, cursor } = ctx.query, get = (route, query) => ctx.get(route, query);
    const [list, one] = await Promise.all([get('/api/v1/schedules', { cursor, limit: 50 }), name && found(get(path`/api/v1/schedules/${name}`))]);
    return { ...list, one, runs: one && (await get(path`/api/v1/schedules/${name}/runs`)).items };
  },
  title: ({ one, items }) => (one ? `${one.name}: ${words(one.state)}` : `Schedules (${items.length})`),
  view: (said, ctx) => [
    h('h1', 'Schedules'), said.one && detail(said, ctx),
    said.items.length ? table([
      ['Schedule', (line) => link(here(line.name), line.name), 'name'],
      ['State', state],
      ['Runs', rhythm, 'wide'],
      ['Next run', (line) => (line.next_run ? since(line.next_run) : h('span.soft.text', line.why))],
    ], said.items, (line) => ({ key: line.name, href: here(line.name) }), 'Schedules')
      : empty('No schedule', 'A schedule submits a decision again and again, by a cron line or at an interval:', h('pre', "flowc schedule put nightly decision.json --cron '0 3 * * *' --zone Europe/Berlin")),
    pager(ctx, said.cursor),
  ],
};
