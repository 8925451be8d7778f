// What is stuck in all flows: first the same waits together with what helps, then one by one, the least slack first.
// And the hot list: what has to begin first, so that flows are in time.

import { h } from '../lib/dom.js';
import { count, counted, span } from '../lib/format.js';
import { badge, copy, empty, field, flowLink, link, select, since, table, tabs, ticketLink, to, words } from '../lib/ui.js';

const LIMIT = 200;

const slack = ({ slack_ms: ms }) => h('b', { class: ms < 0 ? 'bad nowrap' : 'nowrap' }, ms < 0 ? `${span(-ms)} over` : span(ms));

/** What helps a group, by what it waits for. */
function help({ waits_for: what, examples: [first] }) {
  const able = [...what.matchAll(/'([\w.:@/-]+)'/g)].map(([, name]) => ` -c ${name}`).join('');
  if (/approve|decide/.test(what)) return link('/console/inbox', 'Decide in the inbox');
  return /^a (free slot|worker)/.test(what) ? `flowc worker${able} --shell 'echo done'` : `flowc why ${first}`;
}

function group(one) {
  const way = help(one);
  return h('section.panel', { key: `${one.kind} ${one.waits_for}` }, h('h2.text', one.text),
    h('p.small.soft', 'The least slack: ', slack(one), '. The first began to wait ', since(one.since), one.count > 1 && `; in ${counted(one.flows, 'flow')}`, '.'),
    h('div.row.small', typeof way === 'string' ? [h('code.text', way), copy(way)] : way));
}

const TABS = [['', 'Stuck'], ['hot', 'Hot list']];
const WITHIN = [['', 'at any time'], ['900', '15 minutes'], ['3600', 'an hour'], ['86400', 'a day']];

const stuck = ({ items, groups, waiting }) => (items.length ? [
  h('div.grid', groups.map(group)),
  h('h2', 'One by one'),
  table([
    ['Slack', (one) => [slack(one), h('div', badge(one.slack_state))]],
    ['What', (one) => [one.ticket_id && [ticketLink(one.ticket_id, one.task_id), ' of '], flowLink(one.flow_id, one.plan_id ?? 'a flow')], 'text'],
    ['Waits for', (one) => [h('span.text', one.waits_for), h('div.small.soft', words(one.status))]],
    ['Since', (one) => since(one.since), 'nowrap wide'],
    ['Next wake-up', (one) => since(one.next_wakeup_at), 'nowrap wide'],
  ], items, (one) => ({ key: one.ticket_id ?? one.flow_id, href: one.ticket_id ? to.ticket(one.ticket_id) : to.flow(one.flow_id) }), 'What is stuck, the least slack first'),
  waiting > items.length && h('p.small', `${count(waiting - items.length)} more wait.`),
] : empty('Nothing is stuck', 'What waits for a worker, a person or an event is shown here, the least slack first.'));

const hot = ({ items }, ctx) => [
  h('div.filters.fields', field('Has to begin within', select(WITHIN, ctx.query.within ?? '', (within) => ctx.set({ within })))),
  items.length ? table([
    ['Time left', (one) => [slack(one), h('div.small.soft', one.status === 'PENDING' ? 'to begin' : 'to be done', one.sla_paused && ', paused')]],
    ['What', (one) => [ticketLink(one.ticket_id, one.task_id), ' of ', flowLink(one.flow_id, one.plan_id), h('div.small.soft', words(one.task_type))], 'text'],
    ['State', (one) => [badge(one.status), ' ', one.late ? badge('breached', 'too late') : badge(one.slack_state), one.critical && h('div.small.soft', 'on the critical path')]],
    ['Waits for', (one) => [h('span.text', one.waits_for), h('div.small.soft.text', one.worker_id)], 'wide'],
    ['Priority', (one) => words(one.priority), 'wide'],
  ], items, (one) => ({ key: one.ticket_id, href: to.ticket(one.ticket_id) }), 'What has to begin first') : empty('Nothing has to begin', 'Open tickets stand here by the moment at which each has to begin so that its flow is in time. One to try:', h('pre', 'flowc sample | flowc submit -')),
];

export const page = {
  every: 5, // waits begin and end with time, too
  async load(ctx) {
    const isHot = ctx.query.tab === 'hot', within = WITHIN.find(([seconds]) => seconds === ctx.query.within)?.[0];
    return { isHot, ...await (isHot ? ctx.get('hot-list', { limit: LIMIT, within_seconds: within }) : ctx.get('stuck', { limit: LIMIT })) };
  },
  title: ({ isHot, items, waiting }) => (isHot ? `Hot list (${items.length})` : waiting ? `Stuck: ${waiting}` : 'Nothing is stuck'),
  view: (state, ctx) => [
    h('h1', state.isHot ? 'What has to begin first' : 'What is stuck'),
    tabs(ctx, 'tab', TABS, state.isHot ? 'hot' : ''),
    state.isHot ? hot(state, ctx) : stuck(state),
    !state.complete && h('p.small.soft', 'Not all were looked at.'),
  ],
};
