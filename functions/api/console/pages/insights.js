// Insights: what was found in the history of flows.

import { h } from '../lib/dom.js';
import { count, percent } from '../lib/format.js';
import { badge, choices, empty, field, link, search, select, since, table, to, words } from '../lib/ui.js';

const LIMIT = 100;
const TYPES = ['STRATEGIC', 'OPERATIONAL', 'PREDICTIVE', 'CAUSAL', 'ANOMALY'];
const PRIORITIES = ['CRITICAL', 'HIGH', 'MEDIUM', 'LOW'];
const known = (list, word) => list.find((one) => one === word?.toUpperCase());

export const page = {
  every: 60,
  async load(ctx) {
    const asked = { insight_type: known(TYPES, ctx.query.type), priority: known(PRIORITIES, ctx.query.priority), tags: ctx.query.tags };
    return { asked, ...await ctx.get('insights', { ...asked, limit: LIMIT }) };
  },
  title: ({ total }) => `Insights (${total})`,
  view: ({ asked, items, total }, ctx) => [
    h('h1', 'Insights'),
    h('div.filters.fields', field('Type', select([['', 'all'], ...choices(TYPES)], asked.insight_type ?? '', (type) => ctx.set({ type }))),
      field('Priority', select([['', 'all'], ...choices(PRIORITIES)], asked.priority ?? '', (priority) => ctx.set({ priority }))), search(ctx, 'tags', 'Tags, with commas between')),
    items.length ? table([
      ['Priority', (one) => badge(one.priority)], ['What', (one) => [link(to.insight(one.insight_id), one.title), h('div.small.soft.text', one.summary)], 'text say'], ['Type', (one) => words(one.insight_type), 'nowrap wide'],
      ['Confidence', (one) => percent(one.confidence_score), 'right nowrap wide'], ['Impact', (one) => percent(one.impact_score), 'right nowrap wide'], ['Found', (one) => since(one.created_at), 'nowrap'],
    ], items, (one) => ({ key: one.insight_id, href: to.insight(one.insight_id) }), 'Insights, the newest first') : empty('No insights', 'FLOWC_INSIGHTS=true lets the platform look through ended flows every five minutes; what it finds stands here.'),
    total > items.length && h('p.small', `${count(total - items.length)} more.`),
  ],
};
