// One service level: what it asks for, what is left of its budget, how fast it burns, and what it has frozen.

import { doing, found } from '../lib/act.js';
import { address, api, path } from '../lib/api.js';
import { chart } from '../lib/chart.js';
import { h } from '../lib/dom.js';
import { count, now, span } from '../lib/format.js';
import { burnRate, ended, forecast, freezes, helped, leftBar, pairs, percentLeft, share, standing, switching, touched } from '../lib/slo.js';
import { asCommands, badge, empty, facts, json, link, panel, since, table, tabs, words } from '../lib/ui.js';

const HOUR = 3_600_000;
/** Days of the chart, by their tab: how wide a column is, in hours, and what the platform sums up. */
const SPANS = { 1: [0.25, 'none'], 7: [2, 'hourly'], 30: [8, 'hourly'] };
const TABS = [['1', 'Last day'], ['7', 'Last week'], ['30', 'Last 30 days']];
const PAST = 20;

const days = (ctx) => (Object.hasOwn(SPANS, ctx.query.days ?? '') ? ctx.query.days : '7');

/** How it is measured, in words. */
function measured({ sli_query: { query, aggregation, metric_name: metric, history } }) {
  if (query) return [h('code.text', query), h('div.small.soft', `PromQL, ${aggregation} of series${metric && `, ${metric}`}`)];
  const { measure, within_ms: within, labels, ...more } = history;
  const only = [pairs(Object.fromEntries(Object.entries(more).filter(([, value]) => value))), pairs(labels)].flat();
  return [words(measure), within && ` within ${span(within)}`, h('div.small.soft', 'of what this platform has done', only.length > 0 && [', only', only])];
}

const definition = (slo) => panel('Objective', slo.description && h('p.text', slo.description), facts([
  ['Target', `${share(slo.target)} in ${slo.window_days} days`], ['Measured by', measured(slo)], ['Kind', words(slo.slo_type)], ['Service', link(address('/console/slos', { service: slo.service_name }), slo.service_name)],
  ['Component', slo.component], ['Layer', slo.layer], ['Labels', pairs(slo.labels)], ['Made from', slo.managed_by],
  ['Made', since(slo.created_at)], ['Changed', since(slo.updated_at)]]),
json(slo), asCommands([`flowc slo show ${slo.slo_id}`, `flowc slo history ${slo.slo_id}`], path`budgets/${slo.slo_id}`));

const numbers = (one) => h('section.panel.figures', { 'aria-label': 'Budget' }, facts([
  ['Left', leftBar(one)], ['SLI', share(one.sli_value)], ['Used', h('span', { class: one.error_budget_consumed > 100 && 'bad' }, percentLeft(one.error_budget_consumed))], ['Errors allowed', share(one.error_budget_total / 100)],
  ['Counted', one.sample_count === null ? null : count(one.sample_count)], ['Forecast', h('div.small', forecast(one))], ['Violations', h('span', one.violations_count, one.last_violation_at && h('div.small.soft', 'last ', since(one.last_violation_at)))],
  ['Calculated', h('div.small', since(one.calculated_at))]]));

const burns = (one) => panel('How fast it burns', one.burn_rates.length ? table([['Window', ({ window_hours: hours }) => span(hours * HOUR)], ['Rate', burnRate, 'nowrap'], ['Spent at this rate', ({ estimated_exhaustion: at }) => since(at)]],
  one.burn_rates, ({ window_hours: key }) => ({ key }), 'Burn rates') : h('p.soft', 'Nothing was measured in these windows, or the query has no {{window}} in it.'),
h('p.small.soft', 'At 1× the budget lasts for its window.'));

/** What was left, in columns of one width, and where it may go from now on: at the earliest and at the latest. */
function course({ items }, budget, ctx) {
  const key = days(ctx), width = SPANS[key][0] * HOUR, past = Number(key) * 24 * HOUR / width, start = now() - past * width;
  const { error_budget_remaining: left = 0, exhaustion_earliest: first, exhaustion_latest: last } = budget ?? {}, ahead = left && first ? Math.round(past / 3) : 0;
  const columns = Array.from({ length: past + ahead }, (_, i) => ({ at: start + (i + 0.5) * width, ahead: i >= past, points: [] }));
  for (const point of items) columns[Math.min(past - 1, Math.max(0, Math.floor((Date.parse(point.at) - start) / width)))].points.push(point);
  const told = ({ points }) => (points.length ? points.reduce((sum, one) => sum + one.remaining, 0) / points.length : null);
  const towards = (moment) => (one) => (one.ahead ? Math.max(0, left * (1 - (one.at - now()) / (Date.parse(moment) - now()))) : null);
  const at = (one) => new Date(one.at).toLocaleString(undefined, { ...(width >= HOUR && { weekday: 'short', day: 'numeric' }), hour: '2-digit', minute: '2-digit' });
  const mark = (one) => new Date(one.at).toLocaleString(undefined, width < HOUR ? { hour: '2-digit', minute: '2-digit' } : { month: 'short', day: 'numeric' });
  const marks = [0, past / 3, past * 2 / 3].map((i) => mark(columns[Math.floor(i)]));
  return items.length ? chart('What was left', columns, { at, tell: percentLeft, most: 100, zeros: true, ends: [...marks, 'now', ahead > 0 && mark(columns.at(-1))].filter(Boolean),
    lines: [['busy', 'left', told], ...(ahead ? [['bad', 'spent at the earliest', towards(first)], last && ['warn', 'at the latest', towards(last)]].filter(Boolean) : [])] })
    : empty('Nothing was calculated in this time', 'The platform calculates every five minutes; Recalculate does it now.');
}

const told = ({ slo, active, past }, ctx) => [
  h('h2', 'Freezes'),
  active.length > 0 && freezes(active, ctx.reload),
  past.length ? ended(past) : !active.length && empty('Its budget has frozen nothing', 'A policy freezes deployments of a service when little is left:', h('pre', `flowc freeze policy create NAME --target ${/^[\w.-]+$/.test(slo.service_name) ? slo.service_name : 'SERVICE'} --trigger 20`)),
];

const actions = ({ slo }, ctx) => [
  slo.enabled && doing('Recalculate', { fields: [], main: true, text: 'It is measured now. Policies act at once on what comes out.', done: ctx.reload,
    run: () => helped(api.post(path`budgets/${slo.slo_id}/recalculate`)).then((one) => `${percentLeft(one.error_budget_remaining)} is left`) }),
  switching(slo, path`slos/${slo.slo_id}`, { done: ctx.reload, texts: ['It is calculated no more. What it has frozen is then judged by the other objectives of the policy, and ends where there are none.', 'It is calculated again, at the latest in five minutes.'],
    preview: () => touched((one) => one.slo_id === slo.slo_id, 'It began these freezes that last:', 'Its budget freezes nothing now.') }),
];

export const page = {
  every: 20,
  async load(ctx) {
    const { slo_id: id } = ctx.params;
    const [slo, budget, history] = await Promise.all([ctx.get(path`slos/${id}`), found(ctx.get(path`budgets/${id}`)), ctx.get(path`budgets/${id}/history`, { days: days(ctx), aggregation: SPANS[days(ctx)][1], include_trends: false })]);
    const of = { service_name: slo.service_name };
    const [{ items: active }, { items: past }] = await Promise.all([ctx.get('policies/freezes/active', of), ctx.get('policies/freezes/history', { ...of, days: 90, active: false, limit: PAST })]);
    return { slo, budget, history, active, past };
  },
  title: ({ slo, budget }) => `${slo.name}: ${slo.enabled && budget ? `${percentLeft(budget.error_budget_remaining)} left` : words(standing(slo, budget))}`,
  view: (state, ctx) => {
    const { slo, budget, history } = state;
    return [
      h('div.row', h('h1.text', slo.name), badge(standing(slo, budget)), h('span.grow'), actions(state, ctx)),
      budget ? numbers(budget) : empty('Nothing was measured yet', 'The platform calculates every five minutes. A long history is counted first, and a query of Prometheus has to find something. To try the objective out, or see how far it is:', h('pre', `flowc slo test ${slo.slo_id}`)),
      tabs(ctx, 'days', TABS, days(ctx)),
      course(history, budget, ctx),
      h('div.grid', definition(slo), budget && burns(budget)),
      told(state, ctx),
    ];
  },
};
