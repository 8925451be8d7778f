// Simulator: what a plan would take with the workers there are now, before it runs.

import { asking, number } from '../lib/act.js';
import { api } from '../lib/api.js';
import { bar, chart } from '../lib/chart.js';
import { h } from '../lib/dom.js';
import { count, counted, percent, span } from '../lib/format.js';
import { badge, facts, field, panel, select, words } from '../lib/ui.js';

const EXAMPLE = { tasks: [{ task_id: 'build', type: 'BUILD', description: 'Build it', estimated_duration_ms: 30000 }] };

export const loadPlans = async (ctx) => (await ctx.get('plans')).items;

/** A form for a plan: pasted, stored, or that of a flow. `post(plan, elements)` sends it. */
export function planForm(ctx, plans, verb, post, ...fields) {
  const { query } = ctx;
  return asking(ctx, verb, (elements) => post(planOf(elements), elements), h('div.row',
    field('Plan', select([['', 'pasted below'], ...plans.map((one) => [one.name, `${one.name} (newest: ${one.newest})`])], query.plan ?? '', (plan) => ctx.set({ plan }), { name: 'plan' })),
    field('or that of a flow', h('input', { name: 'flow_id', value: query.flow_id ?? '', placeholder: 'id of a flow', size: '24' }))),
  !query.plan && field('A plan or a decision, as JSON', h('textarea', { name: 'text', rows: '10', spellcheck: 'false' }, JSON.stringify(EXAMPLE, null, 2))),
  h('div.row', fields));
}

function planOf({ flow_id: flow, plan, text }) {
  if (flow.value.trim()) return { flow_id: flow.value.trim() };
  if (plan.value) return { plan: plan.value };
  const value = JSON.parse(text.value);
  return value?.cognitive_plan ? { decision: value } : { plan: value };
}

export const page = {
  load: loadPlans,
  view: (plans, ctx) => [
    h('h1', 'Simulator'),
    h('p.soft', 'The real platform runs the plan many times in virtual time, with the workers there are now. For others: flowc simulate --help.'),
    planForm(ctx, plans, 'Simulate', simulate, number('Runs', 'runs', 100, 1, 500)),
    ctx.local.found && result(ctx.local.found),
  ],
};

const simulate = (plan, { runs }) => api.post('simulations', { ...plan, runs: runs.valueAsNumber });

const seconds = (number) => span(number * 1000);

function result(found) {
  const { sla, finish_seconds: finish, histogram } = found;
  return h('section.grid', { 'aria-live': 'polite' },
    panel('The SLA', h('p', { class: `figure ${sla.low > 0.9 ? 'good' : sla.high < 0.5 ? 'bad' : 'warn'}` }, percent(sla.probability, 1)),
      h('p', `was met in ${sla.met} of ${counted(found.runs, 'run')} (of ${found.asked}) with ${counted(found.workers, 'worker')}; with 95 % certainty it is met in ${percent(sla.low, 1)} to ${percent(sla.high, 1)}.`),
      found.broken > 0 && h('p.bad', `${counted(found.broken, 'run')} broke an invariant of the platform: please report this plan.`),
      h('p.row', Object.entries(found.outcomes).map(([outcome, runs]) => badge(outcome, `${words(outcome)} ${count(runs)}`))),
      Object.keys(found.rejected_because).map((reason) => h('p.bad.text.small', reason)),
      histogram.length > 0 && facts([['Half within', seconds(finish.p50)], ['90 % within', seconds(finish.p90)], ['99 % within', seconds(finish.p99)], ['Longest', seconds(finish.max)]])),
    histogram.length > 0 && chart('Time from decision to end', histogram, { bars: [['busy', 'runs', (one) => one.count]], at: (one) => `${seconds(one.from_seconds)} to ${seconds(one.to_seconds)}`,
      ends: [seconds(histogram[0].from_seconds), seconds(histogram.at(-1).to_seconds)] }),
    found.critical_path.length > 0 && panel('What the end waits for', h('p.small.soft', 'How often each task was on the critical path: making these shorter makes the flow shorter.'),
      found.critical_path.map((one) => bar(h('code', one.task_id), percent(one.share), one.share, 'busy'))));
}
