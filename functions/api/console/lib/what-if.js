// What a policy would have done in the last days, as the platform works it out.

import { address } from './api.js';
import { h } from './dom.js';
import { count, counted, span, when } from './format.js';
import { percentLeft } from './slo.js';
import { badge, facts, flowLink, link, table, to, words } from './ui.js';

/** A link to the trial of a policy; `kind` is `admission` or `freeze`. */
export const whatIf = (kind, id) => link(address('/console/what-if', { policy: `${kind}/${id}` }), 'What if?');

const COUNTS = [['held', 'flows held'], ['lowered', 'lowered in priority'], ['approved_first', 'sent to a person'], ['refused', 'refused'], ['timed_out', 'of those held past their deadline'], ['tickets', 'DEPLOY tickets held back']];
const percent = (value) => (value === null ? 'not known' : percentLeft(value));

/** In short: how many flows, and what of each budget. */
export function inShort(found) {
  const told = [...COUNTS.map(([name, text]) => [text, found[name] > 0 && count(found[name])]), ['held, all together', found.held_ms > 0 && span(found.held_ms)], ['frozen, all together', found.freezes.length > 0 && span(found.frozen_ms)]];
  return [
    h('p.small.soft', `Tried alone on ${counted(found.flows, 'flow')} that came between `, when(found.since), ' and ', when(found.until), ' and have ended. Nothing is stored.'),
    !found.complete && h('p.warn', 'Too much happened to look at all of it: flows count since ', when(found.counted_since), '. Ask for fewer days.'),
    told.some(([, text]) => text) ? h('section.panel.figures', { 'aria-label': 'What would have been' }, facts(told)) : h('p', h('b', 'Nothing would have been held, refused, sent to a person, or lowered.')),
    found.slos.length ? table([
      ['Objective', (one) => [link(to.slo(one.slo_id), h('span.text', one.name)), h('div.small.soft.text', one.service_name)], 'say'],
      ['Used', (one) => percent(one.consumed), 'nowrap'], ['Would be', (one) => percent(one.consumed_then), 'nowrap'], ['Saves at most', (one) => h('b', percent(one.saved_at_most)), 'nowrap'],
    ], found.slos, (one) => ({ key: one.slo_id }), 'Budgets') : h('p', 'The policy looks at no objective.'),
  ];
}

/** The first hundred flows and freezes, one by one. */
export const oneByOne = ({ items, freezes }) => [
  items.length > 0 && [h('h2', 'Flows'), table([
    ['Came', (one) => when(one.at), 'nowrap'],
    ['What', (one) => badge(one.action === 'REFUSE' ? 'rejected' : 'waiting', words(one.action))],
    ['Until', (one) => when(one.until), 'nowrap wide'],
    ['Flow', (one) => flowLink(one.flow_id)],
    ['Why', (one) => h('span.text', one.why), 'say'],
  ], items, (one) => ({ key: one.flow_id, href: to.flow(one.flow_id) }), 'Flows that it touches')],
  freezes.length > 0 && [h('h2', 'Freezes'), table([
    ['Begins', (one) => when(one.since), 'nowrap'], ['Ends', (one) => (one.until ? when(one.until) : 'it lasts'), 'nowrap'], ['Why', (one) => h('span.text', one.why), 'say'],
  ], freezes, (one) => ({ key: one.since }), 'Freezes that it begins')],
];
