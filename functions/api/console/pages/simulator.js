// Simulator: what a plan would take with the workers there are now, or with others, before it runs.

import { api } from '../lib/api.js';
import { h, svg } from '../lib/dom.js';
import { count, counted, percent, span } from '../lib/format.js';
import { badge, button, facts, field, panel, select, table, trouble, words } from '../lib/ui.js';

const EXAMPLE = { tasks: [
  { task_id: 'build', type: 'BUILD', description: 'Build it', estimated_duration_ms: 30000 },
  { task_id: 'test', type: 'TEST', description: 'Test it', dependencies: ['build'], estimated_duration_ms: 60000 },
  { task_id: 'deploy', type: 'DEPLOY', description: 'Deploy it', dependencies: ['test'], estimated_duration_ms: 20000 }] };

/** The part of a form that names a plan: pasted, stored, or that of a flow. */
export const planField = (plans, ctx) => h('div', { class: 'row' },
  field('Plan', select([['', 'pasted below'], ...plans.map((one) => [one.name, `${one.name} (newest: ${one.newest})`])], ctx.query.plan ?? '', (plan) => ctx.set({ plan, flow_id: '' }), { name: 'plan' })),
  field('or that of a flow', h('input', { name: 'flow_id', value: ctx.query.flow_id ?? '', placeholder: 'id of a flow', size: '24' })));
export const pasted = (ctx) => !ctx.query.plan && field('A plan or a decision, as JSON', h('textarea', { name: 'text', rows: '10', spellcheck: 'false' }, JSON.stringify(EXAMPLE, null, 2)));

/** The plan that a form names, as the API takes it. */
export function planOf(form) {
  const { flow_id, plan, text } = form.elements;
  if (flow_id.value.trim()) return { flow_id: flow_id.value.trim() };
  if (plan.value) return { plan: plan.value };
  let value;
  try { value = JSON.parse(text.value); } catch (error) { throw new Error(`This is no JSON: ${error.message}`); }
  return value?.cognitive_plan ? { decision: value } : { plan: value };
}

/** Send a form by `post`, and keep its answer, or what was wrong, for the page. */
export const sends = (ctx, post) => async (event) => {
  event.preventDefault();
  if (ctx.local.busy) return;
  ctx.local.error = null;
  try {
    const body = planOf(event.target);
    ctx.local.busy = true;
    ctx.render();
    ctx.local.found = await post(body, event.target.elements);
  } catch (error) { ctx.local.error = error; }
  ctx.local.busy = false;
  ctx.render();
};

export const page = {
  load: async (ctx) => (await api.get('/api/v1/plans', {}, ctx.signal)).items,
  view: (plans, ctx) => [
    h('h1', {}, 'Simulator'),
    h('p', { class: 'soft' }, 'The real platform runs the plan many times in virtual time. Tasks take about what they are estimated to take; nothing is sent to anybody.'),
    h('form', { class: 'panel', style: { display: 'grid', gap: '.7rem' }, onsubmit: sends(ctx, simulate) }, planField(plans, ctx), pasted(ctx),
      h('div', { class: 'row' }, number('Runs', 'runs', 100, 1, 500), number('Seed', 'seed', 1, 0, 2147483647),
        field('Workers', select([['', 'those there are now'], ['others', 'others']], ctx.query.workers ?? '', (workers) => ctx.set({ workers }))),
        ctx.query.workers && [number('How many', 'many', 4, 1, 200), number('Slots of each', 'slots', 4, 1, 1000), number('Tasks that succeed, %', 'success', 100, 0, 100),
          field('They can do', h('input', { name: 'words', placeholder: 'python, terraform' }))]),
      h('div', {}, h('button', { class: 'main', disabled: ctx.local.busy }, ctx.local.busy ? 'Simulating…' : 'Simulate'))),
    ctx.local.error && trouble(ctx.local.error),
    ctx.local.found && result(ctx.local.found),
  ],
};

const number = (label, name, value, min, max) => field(label, h('input', { name, type: 'number', value, min, max, required: true }));

function simulate(plan, { runs, seed, many, slots, success, words: offered }) {
  const workers = many && [{ count: many.valueAsNumber, slots: slots.valueAsNumber, success_rate: success.valueAsNumber / 100, capabilities: offered.value.split(',').map((word) => word.trim()).filter(Boolean) }];
  return api.post('/api/v1/simulations', { ...plan, runs: runs.valueAsNumber, seed: seed.valueAsNumber, ...(workers ? { workers } : {}) });
}

function result(found) {
  const { sla, finish_seconds: finish } = found;
  const tone = sla.low > 0.9 ? 'good' : sla.high < 0.5 ? 'bad' : 'warn';
  return h('section', { class: 'grid', 'aria-live': 'polite' },
    panel('The SLA', h('p', { class: tone, style: { 'font-size': '2rem', 'font-weight': '650' } }, percent(sla.probability, 1)),
      h('p', {}, `was met in ${sla.met} of ${counted(found.runs, 'run')} with ${counted(found.workers, 'worker')}; with 95 % certainty it is met in ${percent(sla.low, 1)} to ${percent(sla.high, 1)}.`),
      found.runs < found.asked && h('p', { class: 'warn small' }, `${count(found.asked)} runs were asked for; the time was over before.`),
      found.broken > 0 && h('p', { class: 'bad' }, `${counted(found.broken, 'run')} broke an invariant of the platform: please report this plan.`),
      h('p', { class: 'row' }, Object.entries(found.outcomes).map(([outcome, runs]) => badge(outcome, `${words(outcome)} ${count(runs)}`))),
      Object.entries(found.rejected_because).map(([reason]) => h('p', { class: 'bad text small' }, reason))),
    found.histogram.length > 0 && panel('Time from decision to end', histogram(found.histogram),
      facts([['Half within', span(finish.p50 * 1000)], ['90 % within', span(finish.p90 * 1000)], ['99 % within', span(finish.p99 * 1000)], ['Longest', span(finish.max * 1000)]])),
    found.critical_path.length > 0 && panel('What the end waits for', h('p', { class: 'small soft' }, 'How often each task was on the critical path: making these shorter makes the flow shorter.'),
      table([{ name: 'Task', cell: (one) => h('code', { class: 'text' }, one.task_id) }, { name: 'Runs', cell: (one) => percent(one.share), class: 'right' }], found.critical_path, (one) => ({ key: one.task_id }), 'Critical path')));
}

function histogram(bars) {
  const most = Math.max(...bars.map((bar) => bar.count)), width = 600 / bars.length;
  const label = bars.map((bar) => `${span(bar.from_seconds * 1000)} to ${span(bar.to_seconds * 1000)}: ${bar.count}`);
  return [svg('svg', { viewBox: '0 0 600 120', preserveAspectRatio: 'none', role: 'img', 'aria-label': `Histogram. ${label.join('; ')}`, style: { width: '100%', height: '8rem', display: 'block', 'border-bottom': '1px solid var(--line)' } },
    bars.map((bar, i) => svg('rect', { x: i * width + 2, width: width - 4, y: 120 - (bar.count / most) * 114, height: (bar.count / most) * 114, style: { fill: 'var(--busy)' } }, svg('title', {}, label[i])))),
  h('div', { class: 'row small soft', style: { 'justify-content': 'space-between', 'margin-bottom': '.7rem' } }, h('span', {}, span(bars[0].from_seconds * 1000)), h('span', {}, span(bars.at(-1).to_seconds * 1000)))];
}
