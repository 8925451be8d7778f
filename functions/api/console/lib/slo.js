// What the pages of service levels and freezes share: budgets as bars, forecasts, freezes, and what people tell them.

import { doing, REASON } from './act.js';
import { address, api, path, Problem } from './api.js';
import { h } from './dom.js';
import { counted, span } from './format.js';
import { badge, link, parts, since, table, to, tone, words } from './ui.js';

const SHARE = new Intl.NumberFormat(undefined, { style: 'percent', maximumFractionDigits: 4 });
const LEFT = new Intl.NumberFormat(undefined, { style: 'percent', maximumFractionDigits: 1 });
/** A share such as a target, to four digits; and what is left of a budget, given in percent. */
export const share = (value) => SHARE.format(value);
export const percentLeft = (percent) => LEFT.format(percent / 100);

/** The statuses of a budget, the best first. */
export const STATUSES = ['HEALTHY', 'WARNING', 'CRITICAL', 'EXHAUSTED'];

/** The status of an SLO whose budget may not be calculated yet. */
export const standing = (slo, budget) => (slo.enabled ? budget?.status ?? 'NOT_MEASURED' : 'DISABLED');

export function leftBar({ error_budget_remaining: percent, status }) {
  const left = Math.round(percent * 10) / 10;
  return h('div.nowrap', percentLeft(percent), parts([{ tone: tone(status), count: left, label: '% left' }, { tone: 'none', count: Math.round((100 - left) * 10) / 10, label: '% used' }]));
}

export const burn = (budget, hours) => budget.burn_rates.find((one) => one.window_hours === hours);
export const burnRate = (one) => (one ? [`${one.rate.toLocaleString(undefined, { maximumFractionDigits: 1 })}× `, badge(one.level)] : '–');

/** When a budget is spent: an interval, as the platform foresees it. */
export function forecast({ status, exhaustion_earliest: first, exhaustion_latest: last }) {
  if (status === 'EXHAUSTED') return h('span.bad', 'spent');
  return first ? ['spent ', since(first), last ? [' to ', since(last)] : ' at the earliest'] : 'not foreseeable';
}

const TARGETS = { GLOBAL: 'everything', SERVICE: 'service ', NAMESPACE: 'namespace ' };
export const frozen = ({ scope, target }) => [TARGETS[scope], scope !== 'GLOBAL' && h('code.text', target)];
export const forbids = ({ actions }) => actions.map((action) => [badge(action === 'ALERT_ONLY' ? 'plain' : 'open', words(action)), ' ']);

/** Names and values, such as labels. */
export const pairs = (said) => Object.entries(said).map((pair) => [' ', h('code.text', pair.join('='))]);

/** Whose budgets a policy looks at; `own` are those where it selects none. */
export function looks({ slo_selector: { labels, slo_ids: ids } }, own = 'those of its target') {
  const named = pairs(labels);
  return named.length || ids.length ? [named.length > 0 && ['those with', named], ids.length > 0 && ` ${counted(ids.length, 'objective')} by id`] : own;
}

export const resolve = (one, done) => doing('Resolve', { title: 'End this freeze', text: [h('p.text', one.trigger_reason), 'Its policy does not freeze again before the budget has recovered.'],
  fields: [{ ...REASON, required: true }], done, run: (values) => api.post(path`policies/freezes/${one.event_id}/resolve`, values).then(() => `${one.policy_name}: the freeze has ended`) });

/** Freezes that last, with a button to end each, which on a small screen is in the first column; `more` are columns. */
export const freezes = (items, done, more = []) => table([
  ['Frozen', (one) => [frozen(one), h('div.small', forbids(one)), h('div.thin', resolve(one, done))]],
  ['Why', (one) => h('span.text', one.trigger_reason), 'say'],
  ['Since', (one) => since(one.triggered_at), 'nowrap'],
  ...more,
  ['Action', (one) => resolve(one, done), 'wide'],
], items, (one) => ({ key: one.event_id, href: to.slo(one.slo_id) }), 'Freezes that last');

export const ended = (items) => table([
  ['Frozen', (one) => [frozen(one), h('div.small', forbids(one))]],
  ['Why', (one) => [link(to.slo(one.slo_id), h('span.text', one.trigger_reason))], 'say'],
  ['Began', (one) => since(one.triggered_at), 'nowrap'],
  ['Lasted', (one) => span(Math.round(one.duration_seconds) * 1000), 'nowrap'],
  ['Ended by', (one) => (one.active ? badge('open', 'it lasts') : [h('span.text', one.resolved_by), h('div.small.soft.text', one.resolve_reason)]), 'wide'],
], items, (one) => ({ key: one.event_id, href: to.slo(one.slo_id) }), 'Past freezes');

/** Refusals with what helps, by their codes. */
const HELP = {
  no_data: 'Prometheus has no samples of it. `flowc slo test` tries it out.', counting: 'The platform counts on by itself.',
  metrics_away: 'Look whether Prometheus runs, and whether FLOWC_PROMETHEUS_URL is its address.',
  metrics_query_failed: '`flowc slo update` changes the query, `flowc slo test` tries it out.',
  slo_exists: 'Disable or rename that one first.', policy_exists: 'Disable or rename that one first.',
};

export const helped = (promise) => promise.catch((error) => {
  const help = HELP[error.code];
  throw help ? new Problem(error.status, { detail: `${error.message}. ${help}`, code: error.code, errors: error.errors }) : error;
});

/** The button that disables an SLO or a policy, or brings it back; `texts` say what that does, `preview` for whom. */
export function switching(one, route, { texts: [off, on], preview, done }) {
  if (one.managed_by) return h('span.small.soft.text', `Made from the document ${one.managed_by}: change that.`);
  return one.enabled ? doing('Disable', { title: `Disable ${one.name}`, text: off, risky: true, preview, done, run: ({ reason }) => api.remove(route, { reason }).then(() => `${one.name} is disabled`) })
    : doing('Enable', { title: `Enable ${one.name}`, text: on, done, run: ({ reason }) => helped(api.put(address(route, { reason }), { enabled: true })).then(() => `${one.name} is enabled`) });
}

/** The nodes of a dry run: which freezes that last it is about. */
export async function touched(of, text, none) {
  const { items } = await api.get('policies/freezes/active'), found = items.filter(of);
  return found.length ? [h('p', text), h('ul', found.map((one) => h('li.text', frozen(one), `: ${one.trigger_reason}`)))] : [h('p', none)];
}
