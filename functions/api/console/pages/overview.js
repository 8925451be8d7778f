// Overview: what flows did over an hour, a day or a week, what is at risk now, and how busy the workers are.

import { bar, chart } from '../lib/chart.js';
import { h } from '../lib/dom.js';
import { count, counted, percent, span } from '../lib/format.js';
import { empty, facts, panel, since, tabs, to, workerLink } from '../lib/ui.js';

const WINDOWS = [['1h', 'Last hour'], ['24h', 'Last day'], ['7d', 'Last week']];

export const page = {
  every: 10.5, // as long as the platform gives the same answer
  async load(ctx) {
    const [rollup, workers] = await Promise.all([ctx.get('flow-c/rollups', { window: ctx.query.window ?? '1h' }), ctx.get('workers')]);
    return { rollup, workers: workers.items };
  },
  title: ({ rollup }) => (rollup.at_risk ? `${rollup.at_risk} at risk · Overview` : 'Overview'),
  view: ({ rollup, workers }, ctx) => [
    h('div.row', h('h1.grow', 'Overview'), h('span.small.soft', 'counted ', since(rollup.generated_at))),
    tabs(ctx, 'window', WINDOWS, rollup.window),
    figures(rollup),
    !rollup.totals.complete && h('p.warn.small', { role: 'status' }, 'Not all flows of this time are counted yet: older ones follow.'),
    ended(rollup.totals) + rollup.active + rollup.totals.admitted ? charts(rollup)
      : empty('No flow in this time', 'One to try:', h('pre', 'flowc sample | flowc submit - --watch')),
    h('div.grid', reasons(rollup), load(workers)),
  ],
};

const ended = (one) => Object.values(one.ended).reduce((sum, number) => sum + number, 0);
const met = (one) => (one.sla_met + one.sla_missed ? one.sla_met / (one.sla_met + one.sla_missed) : null);

const figures = ({ totals, active, at_risk: risk, complete }) => h('section.panel.figures', { 'aria-label': 'Figures' }, facts([
  ['Came', count(totals.admitted)], ['Ended', count(ended(totals))],
  ['SLA met', h('span', { class: totals.sla_missed ? 'warn' : '', title: `${counted(totals.sla_missed, 'flow')} missed it` }, percent(met(totals), 1))],
  ['Half within', span(totals.p50_ms)], ['95 % within', span(totals.p95_ms)],
  ['Active now', count(active)], ['At risk now', h('span', { class: risk ? 'warn' : '' }, `${count(risk)}${complete ? '' : '+'}`)]]));

function charts({ buckets, bucket_seconds: width }) {
  const at = ({ start }) => new Date(start).toLocaleString(undefined, { ...(width >= 7200 && { weekday: 'short' }), hour: '2-digit', minute: '2-digit' });
  const not = (...words) => (one) => words.reduce((sum, word) => sum + (one.ended[word] ?? 0), 0);
  const drawn = (title, more) => chart(title, buckets, { at, ends: [at(buckets[0]), at(buckets[buckets.length >> 1]), 'now'], ...more });
  return h('div.grid',
    drawn('Flows', { bars: [['good', 'completed', not('COMPLETED')], ['bad', 'failed or late', not('FAILED', 'TIMED_OUT')], ['plain', 'cancelled or rejected', not('CANCELLED', 'REJECTED')]],
      lines: [['busy', 'came', (one) => one.admitted]], top: (most) => `${(most * 60 / width).toLocaleString(undefined, { maximumSignificantDigits: 2 })} a minute` }),
    drawn('SLA', { bars: [['good', 'met', met], ['bad', 'missed', (one) => (met(one) === null ? 0 : 1 - met(one))]], tell: (share) => percent(share, 1), top: percent, most: 1 }),
    drawn('Time from arrival to end', { lines: [['busy', 'half within', (one) => one.p50_ms], ['warn', '95 % within', (one) => one.p95_ms]], tell: span }));
}

function reasons({ reasons: list }) {
  const most = Math.max(1, ...list.map((one) => one.count));
  return panel('Why flows did not succeed', list.length ? list.map((one) => bar(h('code', one.code), count(one.count), one.count / most, 'bad'))
    : h('p.soft', 'No flow of this time failed.'));
}

const BUSIEST = 12;
function load(workers) {
  const sum = (name) => workers.reduce((all, one) => all + one[name], 0), share = (one) => one.active_tickets / one.slots;
  return panel(workers.length ? `Workers: ${count(sum('active_tickets'))} of ${counted(sum('slots'), 'slot')} taken` : 'Workers',
    workers.toSorted((a, b) => share(b) - share(a)).slice(0, BUSIEST).map((one) => bar(workerLink(one.worker_id), `${one.active_tickets} / ${one.slots}`, share(one), one.health === 'UNHEALTHY' ? 'bad' : share(one) >= 1 ? 'warn' : 'busy')),
    !workers.length && h('p.soft', 'No worker is registered.'));
}
