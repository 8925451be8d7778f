// Freezes: what may not be deployed or scaled now and why, the policies that say so, and what was.

import { pager } from '../lib/act.js';
import { api, path } from '../lib/api.js';
import { h } from '../lib/dom.js';
import { counted, span } from '../lib/format.js';
import { ended, forbids, freezes, frozen, looks, switching, touched } from '../lib/slo.js';
import { whatIf } from '../lib/what-if.js';
import { badge, empty, field, select, table } from '../lib/ui.js';

const DAYS = [['1', 'a day'], ['7', '7 days'], ['30', '30 days'], ['90', '90 days']];
const EXAMPLE = "flowc freeze policy create 'shop stands' --target shop --trigger 20 --unfreeze 50";

const change = (one, done) => switching(one, path`policies/${one.policy_id}`, { done, texts: ['It is evaluated no more, and what it has frozen is free.', 'It is evaluated at once, and freezes where little is left.'],
  preview: () => touched((freeze) => freeze.policy_id === one.policy_id, 'These freezes end:', 'It has frozen nothing now.') });

const policies = (items, done) => table([
  ['Policy', (one) => [h('b.text', one.name), one.description && h('div.small.soft.text', one.description), h('div.small', whatIf('freeze', one.policy_id)), h('div.thin', change(one, done))], 'say'],
  ['State', (one) => badge(one.enabled ? 'ok' : 'plain', one.enabled ? 'enabled' : 'disabled')],
  ['Freezes', (one) => [frozen(one), h('div.small', forbids(one))]],
  ['At', (one) => `${one.trigger_threshold_percent} %`, 'nowrap'],
  ['Frees at', (one) => [`${one.unfreeze_threshold_percent} %`, h('div.small.soft', one.auto_unfreeze ? 'by itself' : 'by a person', one.min_duration_seconds > 0 && `, after ${span(one.min_duration_seconds * 1000)}`)], 'nowrap'],
  ['Looks at', (one) => looks(one), 'wide'],
  ['Action', (one) => change(one, done), 'wide'],
], items, (one) => ({ key: one.policy_id }), 'Policies');

export const page = {
  every: 10,
  async load(ctx) {
    const { cursor } = ctx.query, days = DAYS.find(([id]) => id === ctx.query.days)?.[0] ?? '7';
    const [{ items: active }, known, past] = await Promise.all([ctx.get('policies/freezes/active'), api.all('policies', {}, { signal: ctx.signal }), ctx.get('policies/freezes/history', { days, cursor, active: false })]);
    return { active, known: known.sort((a, b) => b.enabled - a.enabled || a.name.localeCompare(b.name)), past, days };
  },
  title: ({ active }) => (active.length ? `Frozen: ${active.length}` : 'Nothing is frozen'),
  view: ({ active, known, past, days }, ctx) => [
    h('div.row', h('h1.grow', 'Freezes'), h('span.soft', active.length ? `${counted(active.length, 'freeze')} now` : 'nothing now')),
    active.length ? freezes(active, ctx.reload, [['Policy', (one) => h('span.text', one.policy_name), 'wide']])
      : empty('Nothing is frozen', 'A pipeline that asks is let through, here for the service shop:', h('pre', 'flowc freeze status shop')),
    h('h2', 'Policies'),
    known.length ? policies(known, ctx.reload) : empty('No policy has been made', 'A policy freezes a service, a namespace or everything when little of an error budget is left, and frees it when the budget has recovered. To make one:', h('pre', EXAMPLE)),
    h('div.row', h('h2.grow', 'Past freezes'), field('In the last', select(DAYS, days, (chosen) => ctx.set({ days: chosen, cursor: '' })))),
    past.items.length ? ended(past.items) : empty(past.cursor ? 'None on this page' : 'No freeze has ended in this time'),
    pager(ctx, past.cursor),
  ],
};
