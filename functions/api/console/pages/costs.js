// Costs: what a plan costs on AWS, from what its functions ask of AWS.

import { api } from '../lib/api.js';
import { h } from '../lib/dom.js';
import { count } from '../lib/format.js';
import { facts, field, panel, table, trouble } from '../lib/ui.js';
import { pasted, planField, sends } from './simulator.js';

const MILLION = 1e6;
const dollars = (amount, digits = 2) => `$${amount.toLocaleString(undefined, { minimumFractionDigits: digits, maximumFractionDigits: digits })}`;

export const page = {
  load: async (ctx) => (await api.get('/api/v1/plans', {}, ctx.signal)).items,
  view: (plans, ctx) => [
    h('h1', {}, 'Costs'),
    h('p', { class: 'soft' }, 'The functions of a flow run as Lambda runs them, in virtual time, over services that count what is asked of them. Nothing is sent anywhere.'),
    h('form', { class: 'panel', style: { display: 'grid', gap: '.7rem' }, onsubmit: sends(ctx, price) }, planField(plans, ctx), pasted(ctx),
      field('Flows in a month', h('input', { name: 'per_month', type: 'number', value: '1000000', min: '1', max: '1000000000', required: true })),
      h('div', {}, h('button', { class: 'main', disabled: ctx.local.busy }, ctx.local.busy ? 'Calculating…' : 'Calculate'))),
    ctx.local.error && trouble(ctx.local.error),
    ctx.local.found && bill(ctx.local.found),
  ],
};

const price = async (plan, { per_month }) => ({ bill: await api.post('/api/v1/costs', { ...plan, per_month: per_month.valueAsNumber }), flows: per_month.valueAsNumber });

function bill({ bill: found, flows }) {
  const total = (name, amount) => ({ name, dollars: amount, total: true });
  const rows = [...found.lines.filter((one) => !one.around), total('The steps of a flow', found.steps), ...found.lines.filter((one) => one.around), total('With all around them', found.whole),
    ...Object.entries(found.rivals).map(([name, amount]) => ({ name: `Instead: ${name}`, dollars: amount, times: amount / found.steps }))];
  const strong = (one, text) => (one.total ? h('strong', {}, text) : text);
  return h('section', { 'aria-live': 'polite', style: { display: 'grid', gap: '1rem' } },
    panel(`A flow of ${count(found.tasks)} tasks`, facts([['A month', dollars(found.whole * flows + found.idle)], ['A million flows', dollars(found.whole * MILLION)], ['One flow', dollars(found.whole, 6)],
      ['A month without flows', dollars(found.idle)], ['Heartbeats of a worker, a month', dollars(found.worker)]])),
    table([{ name: 'What', cell: (one) => strong(one, one.name) },
      { name: 'A flow takes', cell: (one) => (one.number === undefined ? one.times ? `${one.times.toFixed(1)} times the steps` : '' : one.number.toLocaleString(undefined, { maximumFractionDigits: 1 })), class: 'right' },
      { name: 'A million flows', cell: (one) => strong(one, dollars(one.dollars * MILLION)), class: 'right nowrap' }], rows, (one) => ({ key: one.name }), 'Bill'),
    h('p', { class: 'small soft' }, `${found.prices.region}, list prices of ${found.prices.date}. Not in it: workers, free tiers, support, data that leaves AWS, alarms, dashboards. Assumed: ${found.prices.assumptions}`));
}
