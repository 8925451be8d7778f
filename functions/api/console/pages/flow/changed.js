// What changed? Why a flow was slow or failed, and what was predicted for its tickets.

import { path } from '../../lib/api.js';
import { h } from '../../lib/dom.js';
import { span } from '../../lib/format.js';
import { changed as causes, predicted, range } from '../../lib/predicted.js';
import { badge, button, table, ticketLink, to } from '../../lib/ui.js';
import { once } from '../../lib/virtual.js';

const MOST = 100; // tickets that are shown, those farthest beyond their prediction first
const beyond = ({ actual_duration_ms: actual, prediction }) => (actual ?? 0) - prediction.p90_ms;

export function changed(ctx, run) {
  const found = once(ctx, 'changed', () => ctx.get(path`flows/${run.id}/what-changed`));
  if (found instanceof Error) return h('p.bad', { role: 'alert' }, found.message);
  if (!found) return h('p.loading', 'Comparing…');
  const told = [...run.tickets.values()].filter((ticket) => ticket.prediction).sort((one, other) => beyond(other) - beyond(one)).slice(0, MOST);
  const most = Math.max(...told.flatMap((ticket) => [ticket.prediction.p90_ms, ticket.actual_duration_ms ?? 0]));
  return [
    h('h2', 'What changed?'), causes(found),
    !run.flow.ended_at && h('div', button('Compare again', () => { ctx.local.once.delete('changed'); ctx.render(); })),
    told.length > 0 && [h('h2', 'Predicted and actual'), table([
      ['Ticket', (one) => ticketLink(one.ticket_id, one.task_id)], ['State', (one) => badge(one.status)], ['Predicted', (one) => predicted(one.prediction, one.actual_duration_ms)],
      ['Took', (one) => span(one.actual_duration_ms), 'nowrap'], ['Estimate', (one) => span(one.estimated_duration_ms), 'nowrap wide'], ['p50 to p90', (one) => range(one.prediction, one.actual_duration_ms, most), 'wide'],
    ], told, (one) => ({ key: one.ticket_id, href: to.ticket(one.ticket_id) }), 'Predictions beside what happened')],
  ];
}
