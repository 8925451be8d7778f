// The history of a flow: every transition, and the graph as it was after each.

import { h } from '../../lib/dom.js';
import { count, when } from '../../lib/format.js';
import { graph } from '../../lib/graph.js';
import { badge, button, empty, ticketLink, words } from '../../lib/ui.js';
import { virtual } from '../../lib/virtual.js';

const ROW = 30;
const change = ({ type, from_status: from, to_status: to }) => (to ? [from && `${words(from)} → `, badge(to)] : words(type.replace(/^\w+\./, '')));

export function history(ctx, run) {
  const { entries } = run, last = entries.length - 1;
  if (last < 0) return empty('No history yet', 'It begins when the decision has been taken in.');
  const at = Number(ctx.query.at), chosen = entries.findIndex(({ seq }) => seq === at);
  const index = chosen < 0 ? last : chosen, entry = entries[index];
  if (ctx.local.then?.seq !== entry.seq) ctx.local.then = run.at(entry.seq);
  const go = (to) => {
    const box = document.querySelector('.events .virtual'), top = to * ROW;
    document.querySelector('[type=range]').value = to; // a field keeps its value when the page is drawn again
    if (top < box.scrollTop || top > box.scrollTop + box.clientHeight - ROW) box.scrollTop = top - box.clientHeight / 2;
    ctx.set({ at: entries[to].seq });
  };
  const step = (text, to) => button(text, () => go(to), { disabled: to < 0 || to > last });
  return [
    h('div.row', step('‹ Previous', index - 1), step('Next ›', index + 1),
      h('input', { type: 'range', class: 'grow', min: '0', max: String(last), value: String(index), 'aria-label': 'Event', oninput: (event) => go(Number(event.target.value)) })),
    h('p', { 'aria-live': 'polite' }, `Event ${count(index + 1)} of ${count(last + 1)} · `, when(entry.at), ' · ', h('b', entry.task_id ?? 'flow'), ' ', change(entry), ' · the flow was ', badge(ctx.local.then.flow)),
    entry.detail.reason?.message && h('p.text.bad', entry.detail.reason.message),
    graph(ctx, run, ctx.local.then),
    h('div.events', virtual(ctx, 'events', entries, ROW, (one, place) => h('div', { class: `line${place === index ? ' on' : ''}`, role: 'listitem', key: one.seq },
      button(count(place + 1), () => go(place), { class: 'quiet', 'aria-label': `State after event ${place + 1}`, 'aria-pressed': String(place === index) }), h('span.wide', when(one.at)),
      h('span.name', one.ticket_id ? ticketLink(one.ticket_id, one.task_id) : 'flow'), h('span.change', change(one)),
      h('span.soft', [one.cause, one.worker_id, one.attempt && `attempt ${one.attempt}`].filter(Boolean).join(' · '))), 'Events')),
  ];
}
