// Predictions: how good they were, the models that make them, and the load that is to come.

import { h } from '../lib/dom.js';
import { chart } from '../lib/chart.js';
import { count, local, percent, span, when } from '../lib/format.js';
import { predicted, range } from '../lib/predicted.js';
import { badge, empty, facts, field, flowLink, panel, select, since, table, ticketLink, to, words, workerLink } from '../lib/ui.js';

const LIMIT = 100;
const TYPES = ['BUILD', 'DEPLOY', 'TEST', 'VALIDATE', 'EXECUTE', 'COMPENSATE', 'QUERY', 'TRANSFORM', 'TOOL'];
const STATES = { SERVING: 'good', SHADOW: 'busy', REFUSED: 'bad', ROLLED_BACK: 'bad' };
const METRICS = [['mae_ms', 'MAE', span], ['r2', 'R²', (value) => value.toFixed(2)], ['mape', 'MAPE', (value) => percent(value)], ['p90_coverage', 'inside p90', percent]];

const figures = ({ tickets_accuracy: one, flows_accuracy: flows, looked_at: number, complete }) => panel('How good they were',
  h('div.figures', facts([['Done tickets', count(one.tickets)], ['Inside p50', percent(one.inside_p50)], ['Inside p90', percent(one.inside_p90)], ['Off by', span(one.mean_error_ms)], ['Estimates off by', span(one.estimates_mean_error_ms)],
    ['Flows', count(flows.flows)], ['Met their deadline', percent(flows.met)], ['That was said', percent(flows.expected)]])),
  h('p.small.soft', `Half of the tickets should be inside p50, nine of ten inside p90. ${count(number)} ended flows were looked at${complete ? ', all of 14 days' : ''}.`));

const groups = (title, list, name) => list.length > 1 && panel(title, table([[name, (one) => h('code', one.group)], ['Tickets', (one) => count(one.tickets), 'right'], ['Inside p50', (one) => percent(one.inside_p50), 'right'],
  ['Inside p90', (one) => percent(one.inside_p90), 'right'], ['Off by', (one) => span(one.mean_error_ms), 'right nowrap'], ['Estimates off by', (one) => span(one.estimates_mean_error_ms), 'right nowrap wide']], list, (one) => ({ key: one.group }), title));

function tickets(items) {
  const most = Math.max(...items.map((one) => Math.max(one.prediction.p90_ms, one.actual_ms ?? 0)));
  return table([
    ['Ticket', (one) => [ticketLink(one.ticket_id, one.task_id), ' of ', flowLink(one.flow_id)], 'text'], ['Type', (one) => words(one.task_type), 'wide'], ['Predicted', (one) => predicted(one.prediction, one.actual_ms)],
    ['Took', (one) => (one.actual_ms === null ? badge(one.status) : span(one.actual_ms)), 'nowrap'], ['Estimate', (one) => span(one.estimate_ms), 'nowrap wide'], ['p50 to p90', (one) => range(one.prediction, one.actual_ms, most), 'wide'],
    ['Worker', (one) => workerLink(one.worker_id), 'wide'], ['Model', (one) => h('code', one.prediction.model), 'wide'], ['Ended', (one) => since(one.completed_at), 'nowrap wide'],
  ], items, (one) => ({ key: one.ticket_id, href: to.ticket(one.ticket_id) }), 'Tickets: predicted and actual');
}

const flows = (items) => table([
  ['Flow', (one) => flowLink(one.flow_id, one.plan_id ?? undefined), 'text'], ['End', (one) => [badge(one.outcome), ' ', one.missed && badge('breached', 'late')]], ['Predicted', (one) => predicted(one.prediction, one.duration_ms)],
  ['Took', (one) => span(one.duration_ms), 'nowrap'], ['Model', (one) => h('code', one.prediction.model), 'wide'], ['Ended', (one) => since(one.ended_at), 'nowrap wide'],
], items, (one) => ({ key: one.flow_id, href: `${to.flow(one.flow_id)}?tab=changed` }), 'Flows: predicted and actual');

const measured = ({ metrics }) => METRICS.filter(([name]) => typeof metrics[name] === 'number').map(([name, text, tell]) => `${text} ${tell(metrics[name])}`).join(', ') || '–';

const models = (items) => panel('Models', items.length > 0 ? table([
  ['Model', (one) => h('code', `${one.name}:${one.number}`)], ['State', (one) => h('span', { class: `badge ${STATES[one.state] ?? 'plain'}` }, words(one.state))], ['Held out', measured, 'text'], ['Tickets', (one) => count(one.rows), 'right wide'],
  ['Why', (one) => one.reasons?.at(-1), 'text wide'], ['Trained', (one) => since(one.trained_at), 'nowrap'],
], items, (one) => ({ key: `${one.name}:${one.number}` }), 'Models') : h('p.soft', 'None has been trained. It takes ended flows, and FLOWC_LEARNING=advise; flowc models says more.'));

const load = ({ forecast, reason }) => (forecast ? chart('Flows that are to come, a quarter of an hour each', forecast.points, {
  bars: [['busy', 'expected', (one) => one.value]], lines: [['warn', 'at most, nine times of ten', (one) => one.high]], at: (one) => local(one.start), tell: (value) => value.toFixed(1),
  ends: [local(forecast.points[0].start), forecast.mape === null ? '' : `off by ${forecast.mape.toFixed(0)} % on the last day`, local(forecast.points.at(-1).start)],
}) : panel('Flows that are to come', h('p.soft', reason)));

export const page = {
  every: 60,
  async load(ctx) {
    const type = TYPES.find((one) => one === ctx.query.type);
    const [told, known, ahead] = await Promise.all([ctx.get('predictions', { limit: LIMIT, task_type: type, worker: ctx.query.worker }), ctx.get('models'), ctx.get('predictions/load')]);
    return { type, told, models: known.items, ahead };
  },
  view: ({ type, told, models: known, ahead }, ctx) => [
    h('div.row', h('h1.grow', 'Predictions'), h('p.small.soft', 'Looked at ', when(told.checked_at))),
    told.tickets_accuracy.tickets + told.flows_accuracy.flows > 0 && figures(told),
    h('div.filters.fields', field('Type', select([['', 'all'], ...TYPES.map((one) => [one, words(one)])], type ?? '', (value) => ctx.set({ type: value })))),
    told.items.length ? tickets(told.items) : empty('No ended ticket has a prediction', 'FLOWC_LEARNING=advise trains models from ended flows and shows what they say beside what happens; FLOWC_LEARNING=on lets deadlines, order and workers follow them, too.'),
    told.flows.length > 0 && flows(told.flows),
    h('div.grid', groups('By model', told.by_model, 'Model'), groups('By type', told.by_task_type, 'Type')),
    models(known), load(ahead),
  ],
};
