// Service levels: every objective with what is left of its error budget, the least first.

import { api } from '../lib/api.js';
import { h } from '../lib/dom.js';
import { count, counted } from '../lib/format.js';
import { burn, burnRate, forecast, leftBar, share, standing, STATUSES } from '../lib/slo.js';
import { badge, empty, facts, field, link, search, select, table, to, words } from '../lib/ui.js';

const MOST = 300;
const FRESH = 5000; // a filter that changes reads nothing
const EXAMPLE = "flowc slo create 'flows succeed' --service shop --target 99 --measure flow_success";

const status = ({ slo, budget }) => standing(slo, budget);
const rank = ({ slo, budget }) => (!slo.enabled ? 102 : budget?.error_budget_remaining ?? 101);

const fits = ({ text = '', service, status: wanted }) => (one) => (service ? one.slo.service_name === service : true)
  && (wanted ? status(one) === wanted : one.slo.enabled) && text.toLowerCase().split(/\s+/).every((word) => `${one.slo.name} ${one.slo.service_name}`.toLowerCase().includes(word));

const figures = (list, of) => h('section.panel.figures', { 'aria-label': 'Figures' }, facts([...STATUSES, 'NOT_MEASURED'].map((name) => [words(name), h('span', { class: of(name) ? { WARNING: 'warn', CRITICAL: 'bad', EXHAUSTED: 'bad' }[name] : null }, count(of(name)))])));

const COLUMNS = [
  ['Objective', ({ slo }) => [link(to.slo(slo.slo_id), h('span.text', slo.name)), h('div.small.soft.text', slo.service_name)], 'say'],
  ['Status', (one) => badge(status(one))],
  ['Left', ({ budget }) => (budget ? leftBar(budget) : '–')],
  ['Target', ({ slo }) => [share(slo.target), h('div.small.soft', `${slo.window_days} days`)], 'nowrap'],
  ['SLI', ({ budget }) => (budget ? share(budget.sli_value) : '–'), 'nowrap'],
  ['Burns, last hour', ({ budget }) => (budget ? burnRate(burn(budget, 1)) : '–'), 'nowrap'],
  ['Forecast', ({ budget }) => (budget ? forecast(budget) : '–'), 'wide'],
];

export const page = {
  every: 30,
  async load({ local, signal }) {
    if (local.read && performance.now() - local.read.at < FRESH) return local.read.list;
    const [slos, budgets] = await Promise.all(['slos', 'budgets'].map((route) => api.all(route, {}, { signal })));
    const of = new Map(budgets.map((one) => [one.slo_id, one]));
    const list = slos.map((slo) => ({ slo, budget: slo.enabled ? of.get(slo.slo_id) : null })).sort((a, b) => rank(a) - rank(b));
    local.read = { at: performance.now(), list };
    return list;
  },
  title: (list) => {
    const spent = list.filter((one) => status(one) === 'EXHAUSTED').length;
    return `Service levels${spent ? `: ${spent} spent` : ''}`;
  },
  view(list, ctx) {
    const { query } = ctx, shown = list.filter(fits(query)), of = (name) => list.filter((one) => status(one) === name).length;
    if (!list.length) return [h('h1', 'Service levels'), empty('No objective has been made', 'An objective says which share of flows has to succeed, or to be in time. What may fail is its error budget: it is calculated every five minutes, and policies can freeze deployments when it runs out. To make one:', h('pre', EXAMPLE))];
    const services = [...new Set([...list.map(({ slo }) => slo.service_name), query.service].filter(Boolean))].sort();
    return [
      h('div.row', h('h1.grow', 'Service levels'), h('span.soft', `${count(shown.length)} of ${counted(list.length, 'objective')}`)),
      figures(list, of),
      h('div.filters.fields', search(ctx, 'text', 'Name or service'), field('Service', select([['', 'any'], ...services.map((name) => [name, name])], query.service ?? '', (service) => ctx.set({ service }))),
        field('Status', select([['', 'any, enabled'], ...[...STATUSES, 'NOT_MEASURED', 'DISABLED'].map((name) => [name, `${words(name)} (${of(name)})`])], query.status ?? '', (name) => ctx.set({ status: name })))),
      shown.length ? table(COLUMNS, shown.slice(0, MOST), ({ slo }) => ({ key: slo.slo_id, href: to.slo(slo.slo_id) }), 'Service levels, the least left first')
        : empty('No objective fits', 'Another service or status, or a shorter text, finds more.'),
      shown.length > MOST && h('p.small', `${count(shown.length - MOST)} more: filter them.`),
    ];
  },
};
