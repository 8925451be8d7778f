// Costs: what a plan costs on AWS, from what its functions ask of AWS.

import { number } from '../lib/act.js';
import { api } from '../lib/api.js';
import { h } from '../lib/dom.js';
import { count } from '../lib/format.js';
import { facts, panel, table } from '../lib/ui.js';
import { loadPlans, planForm } from './simulator.js';

const MILLION = 1e6;
const dollars = (amount, digits = 2) => `$${amount.toLocaleString(undefined, { minimumFractionDigits: digits, maximumFractionDigits: digits })}`;

export const page = {
  load: loadPlans,
  view: (plans, ctx) => [
    h('h1', 'Costs'),
    h('p.soft', 'The functions of a flow run as Lambda runs them, in virtual time, over services that count what is asked of them.'),
    planForm(ctx, plans, 'Calculate', price, number('Flows in a month', 'per_month', 1e6, 1, 1e9)),
    ctx.local.found && bill(ctx.local.found),
  ],
};

async function price(plan, { per_month: { valueAsNumber: flows } }) {
  return { ...await api.post('costs', { ...plan, per_month: flows }), flows };
}

function bill(found) {
  const total = (name, amount) => ({ name, dollars: amount, total: true });
  const rows = [...found.lines.filter((one) => !one.around), total('The steps of a flow', found.steps), ...found.lines.filter((one) => one.around), total('With all around them', found.whole),
    ...Object.entries(found.rivals).map(([name, amount]) => ({ name: `Instead: ${name}`, dollars: amount, times: amount / found.steps }))];
  const strong = (one, text) => (one.total ? h('strong', text) : text);
  return h('section.grid-1', { 'aria-live': 'polite' },
    panel(`A flow of ${count(found.tasks)} tasks`, facts([['A month', dollars(found.whole * found.flows + found.idle)], ['A million flows', dollars(found.whole * MILLION)], ['One flow', dollars(found.whole, 6)],
      ['A month without flows', dollars(found.idle)], ['Heartbeats of a worker, a month', dollars(found.worker)]])),
    table([['What', (one) => strong(one, one.name)],
      ['A flow takes', (one) => (one.times ? `${one.times.toFixed(1)} times the steps` : one.number?.toLocaleString(undefined, { maximumFractionDigits: 1 })), 'right'],
      ['A million flows', (one) => strong(one, dollars(one.dollars * MILLION)), 'right nowrap']], rows, (one) => ({ key: one.name }), 'Bill'),
    h('p.small.soft', `${found.prices.region}, list prices of ${found.prices.date}. Not in it: workers, free tiers, support, data that leaves AWS. Assumed: ${found.prices.assumptions}`));
}
