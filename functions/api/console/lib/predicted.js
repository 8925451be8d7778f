// Predictions beside what happened, and causes with their evidence: of the pages of predictions and of a flow.

import { h, svg } from './dom.js';
import { bytes, count, percent, span } from './format.js';
import { badge, facts, panel, ticketLink, words, workerLink } from './ui.js';

const FIGURES = { ms: span, bytes, share: percent, count };
const figure = (value, unit) => (FIGURES[unit] ?? count)(value);

/** A line from p50 to p90 with a mark at what happened; `most` is its right end. */
export function range({ p50_ms: p50, p90_ms: p90 }, actual, most) {
  const x = (ms) => Math.min(100, (ms / Math.max(1, most)) * 100), inside = actual !== null && actual <= p90;
  const said = `p50 ${span(p50)}, p90 ${span(p90)}${actual === null ? '' : `, took ${span(actual)}`}`;
  return svg('svg', { class: 'range', viewBox: '0 0 100 10', preserveAspectRatio: 'none', role: 'img', 'aria-label': said }, svg('title', {}, said),
    svg('rect', { class: 'busy', x: x(p50), width: Math.max(1, x(p90) - x(p50)), y: 3, height: 4 }),
    actual !== null && svg('rect', { class: inside ? 'good' : 'bad', x: Math.max(0, x(actual) - 1), width: 2, y: 0, height: 10 }));
}

/** What was predicted for a flow or a ticket, beside what it took; null where nothing was. */
export const predicted = (prediction, took) => prediction && [`${span(prediction.p50_ms)} to ${span(prediction.p90_ms)}`, prediction.probability !== undefined && `, ${percent(prediction.probability)} to be in time`,
  took !== null && took !== undefined && h('div.small', took <= prediction.p90_ms ? 'inside p90' : h('b.bad', `${span(took - prediction.p90_ms)} over p90`))];

const evidence = ({ evidence: list }) => h('table.small', h('thead', h('tr', ['Figure', 'Before', 'Now', 'Samples'].map((name) => h('th', { scope: 'col' }, name)))),
  h('tbody', list.map((one) => h('tr', h('td', words(one.name)), h('td', figure(one.before, one.unit)), h('td', figure(one.now, one.unit)), h('td', one.samples ? count(one.samples) : 'the plan')))));

function cause(one, place, { delay_ms: delay }) {
  const share = delay ? one.explained_ms / delay : 0;
  return h('section.panel', { key: `${one.kind} ${one.subject}` }, h('div.row', h('h3.grow', `${place + 1}. ${words(one.kind)}`), badge(one.sure >= 0.8 ? 'bad' : 'warn', `${percent(one.sure)} sure`)), h('p.text', one.text),
    one.explained_ms > 0 && [h('p.small.soft', `Explains ${span(one.explained_ms)}, ${percent(share)} of the delay`), h('div.parts', h('i.bad', { style: { width: `${Math.min(1, share) * 100}%` } }))],
    evidence(one), one.ticket_ids.length > 0 && h('p.small', 'Tickets: ', one.ticket_ids.map((id) => [ticketLink(id), ' '])), one.worker_id && h('p.small', 'Worker: ', workerLink(one.worker_id)));
}

/** The causes of a delay with their evidence, as `GET /api/v1/flows/{id}/what-changed` tells them. */
export const changed = (found) => [
  panel(null, h('ul', found.text.map((line) => h('li.text', line))), facts([['Took', span(found.took_ms)], ['Usual', span(found.usual_ms)], ['Late', found.late_ms > 0 && span(found.late_ms)],
    ['To explain', found.delay_ms > 0 && span(found.delay_ms)], ['Explained', found.delay_ms > 0 && span(found.explained_ms)], ['Compared with', `${count(found.compared_with.flows)} flows (${words(found.compared_with.kind)})`]])),
  found.causes.length > 0 && h('div.grid', found.causes.map((one, place) => cause(one, place, found))),
];
